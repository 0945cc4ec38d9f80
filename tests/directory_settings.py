"""Settings of sign-in for the servers of the tests."""

from __future__ import annotations

from tests import slapd


def by_search(server: slapd.Slapd, **changes: str) -> dict[str, str]:
    """Search bind in the OpenLDAP-like tree, over LDAPS."""
    return {
        "LDAP_URL": server.tls_url,
        "LDAP_CA_FILE": str(server.folder / "ca.pem"),
        "LDAP_BIND_DN": slapd.LOOKUP_DN,
        "LDAP_BIND_PASSWORD": slapd.LOOKUP_PASSWORD,
        "LDAP_BASE_DN": slapd.BASE,
        "LDAP_ALLOWED_GROUP": slapd.ALLOWED,
        "LDAP_ADMIN_GROUP": slapd.ADMINS,
        "LDAP_TIMEOUT_S": "4",
        **changes,
    }


def by_template(server: slapd.Slapd, **changes: str) -> dict[str, str]:
    """Template bind in the OpenLDAP-like tree, over StartTLS."""
    return {
        "LDAP_URL": server.url,
        "LDAP_CA_FILE": str(server.folder / "ca.pem"),
        "LDAP_USER_DN_TEMPLATE": f"uid={{username}},ou=people,{slapd.BASE}",
        "LDAP_ALLOWED_GROUP": slapd.ALLOWED,
        "LDAP_ADMIN_GROUP": slapd.ADMINS,
        "LDAP_TIMEOUT_S": "4",
        **changes,
    }


def by_ad(server: slapd.Slapd, **changes: str) -> dict[str, str]:
    """Search bind in the AD-like tree, over StartTLS."""
    return {
        "LDAP_URL": server.url,
        "LDAP_CA_FILE": str(server.folder / "ca.pem"),
        "LDAP_BIND_DN": slapd.AD_LOOKUP,
        "LDAP_BIND_PASSWORD": slapd.LOOKUP_PASSWORD,
        "LDAP_BASE_DN": slapd.AD_BASE,
        "LDAP_NAME_ATTRIBUTE": "sAMAccountName",
        "LDAP_USER_FILTER": "(objectClass=adAccount)",
        "LDAP_ALLOWED_GROUP": slapd.AD_ALLOWED,
        "LDAP_ADMIN_GROUP": slapd.AD_ADMINS,
        "LDAP_TIMEOUT_S": "4",
        **changes,
    }
