"""Settings of sign-in: complete ones pass, others are refused with what to do."""

from __future__ import annotations

import pytest

from vixtract.errors import SettingsError
from vixtract.settings import Settings

SEARCH = {
    "LDAP_URL": "ldaps://dc1.example.com ldap://[fd00::1]:389",
    "LDAP_BIND_DN": "CN=svc,DC=example,DC=com",
    "LDAP_BIND_PASSWORD": "secret-of-the-lookup",
    "LDAP_BASE_DN": "DC=example,DC=com",
    "LDAP_ALLOWED_GROUP": "CN=ETL,DC=example,DC=com",
}
TEMPLATE = {
    "LDAP_URL": "ldap://ldap.example.com",
    "LDAP_USER_DN_TEMPLATE": "uid={username},ou=people,dc=example,dc=com",
    "LDAP_ALLOWED_GROUP": "*",
}
OIDC = {
    "OIDC_ISSUER": "https://id.example.com/realms/etl",
    "OIDC_CLIENT_ID": "vixtract",
    "OIDC_ALLOWED_GROUP": "etl",
}


@pytest.mark.parametrize("values", [{}, SEARCH, TEMPLATE, OIDC, {**SEARCH, **OIDC}])
def test_complete_settings_pass(values):
    settings = Settings.from_environment(values)
    assert "secret-of-the-lookup" not in repr(settings)


def test_secrets_alone_are_no_problem():
    """The job container reads them from the volume, but is not given the other settings."""
    Settings.from_environment({"LDAP_BIND_PASSWORD": "x", "OIDC_CLIENT_SECRET": "y"})


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        (SEARCH, {"LDAP_URL": ""}, "LDAP_URL is empty"),
        (SEARCH, {"LDAP_URL": "dc1.example.com"}, "write ldaps://HOST"),
        (SEARCH, {"LDAP_URL": "https://dc1.example.com"}, "write ldaps://HOST"),
        (SEARCH, {"LDAP_BIND_PASSWORD": ""}, "LDAP_BIND_DN needs LDAP_BIND_PASSWORD too"),
        (SEARCH, {"LDAP_BASE_DN": ""}, "LDAP_BIND_DN needs LDAP_BASE_DN too"),
        (SEARCH, {"LDAP_ALLOWED_GROUP": ""}, "or * to let everybody in"),
        (SEARCH, {"LDAP_ALLOWED_GROUP": "etl-users"}, "is not a DN"),
        (SEARCH, {"LDAP_ADMIN_GROUP": "*"}, "everybody an administrator"),
        (SEARCH, {"LDAP_USER_FILTER": "objectClass=user"}, "balanced parentheses"),
        (SEARCH, {"LDAP_USER_FILTER": "(&(a=b)"}, "balanced parentheses"),
        (SEARCH, {"LDAP_NAME_ATTRIBUTE": "uid)(x"}, "not the name of an attribute"),
        (SEARCH, {"LDAP_CA_FILE": "ca.pem"}, "not a full path"),
        (SEARCH, {"LDAP_STARTTLS": "maybe"}, "is none of on, off"),
        (SEARCH, {"LDAP_TIMEOUT_S": "0"}, "too short"),
        (SEARCH, {"LDAP_PASSWORD_URL": "javascript:alert(1)"}, "not an http:// or https://"),
        (SEARCH, {"LDAP_USER_DN_TEMPLATE": "uid={username},dc=x"}, "both are set"),
        (TEMPLATE, {"LDAP_USER_DN_TEMPLATE": ""}, "neither is set"),
        (TEMPLATE, {"LDAP_USER_DN_TEMPLATE": "uid={login},dc=x"}, "{username} in it once"),
        (TEMPLATE, {"LDAP_USER_DN_TEMPLATE": "{username}@x.org"}, "LDAP_BASE_DN is needed"),
        (TEMPLATE, {"LDAP_BIND_PASSWORD": "x"}, "no use without LDAP_BIND_DN"),
        (OIDC, {"OIDC_ISSUER": ""}, "OIDC_ISSUER is empty"),
        (OIDC, {"OIDC_ISSUER": "http://id.example.com"}, "not the https:// address"),
        (OIDC, {"OIDC_CLIENT_ID": ""}, "register a client"),
        (OIDC, {"OIDC_ALLOWED_GROUP": ""}, "or * to let everybody in"),
        (OIDC, {"OIDC_ADMIN_GROUP": "*"}, "everybody an administrator"),
        (OIDC, {"OIDC_SCOPE": "profile"}, "must have openid"),
    ],
)
def test_wrong_settings_say_what_and_what_to_do(base, change, expected):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({**base, **change})
    assert expected in caught.value.message
    assert "secret-of-the-lookup" not in caught.value.message
    assert caught.value.exit_code == 3
