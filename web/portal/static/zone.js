// Tells the server the viewer's time zone, so that pages show times in it from the next one on.
'use strict';

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`vixtract_zone=${encodeURIComponent(zone)}`)) {
  const secure = window.location.protocol === 'https:' ? '; secure' : '';
  document.cookie = `vixtract_zone=${encodeURIComponent(zone)}; path=/portal; max-age=31536000; samesite=lax${secure}`;
}
