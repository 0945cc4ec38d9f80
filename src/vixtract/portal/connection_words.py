"""Words of the pages about connections: labels, helps, what is wrong, what a test found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vixtract.language import Language


def name_fields(language: Language) -> dict[str, str]:
    """Return the label of each field.

    Args:
        language: of the page.
    """
    say = language.say
    return {
        "host": say("Host"),
        "port": say("Port"),
        "database": say("Database"),
        "user": say("User"),
        "password": say("Password"),
        "tls": say("Encryption"),
        "address": say("Address"),
        "auth": say("Signs in with"),
        "token": say("Token or password"),
        "header": say("Name of the header"),
        "test_path": say("Path for the test"),
        "region": say("Region"),
        "bucket": say("Bucket"),
        "access_key": say("Access key"),
        "secret_key": say("Secret key"),
        "private_key": say("Private key"),
        "passphrase": say("Passphrase of the key"),
        "host_key": say("Fingerprint of the server’s key"),
        "folder": say("Folder"),
        "name": say("Name"),
        "owner": say("Belongs to"),
    }


def explain_fields(language: Language, kind: str) -> dict[str, str]:
    """Return the help below fields, by field.

    Args:
        language: of the page.
        kind: of connection.
    """
    say = language.say
    helps = {
        "host": say("Name or address of the server, as this appliance reaches it."),
        "tls": say("“verify” also checks that the server is the right one, by its certificate."),
        "host_key": say("Begins with SHA256:. Press “Test” without it, and it is shown."),
        "private_key": say("Whole text of the file. Leave the password empty then."),
        "folder": say("Where it starts; empty is the server’s own choice."),
        "bucket": say("Empty: each path begins with its bucket."),
        "test_path": say("What the test asks for; empty is the address itself."),
        "header": say("For “a header of its own”."),
    }
    if kind == "http":
        helps["address"] = say("For example https://api.example.com/v1")
        helps["user"] = say("For “user and password”.")
    if kind == "s3":
        helps["address"] = say("For example https://s3.example.com; empty is Amazon.")
    if kind == "mssql":
        helps["tls"] = say("The server’s certificate is not checked.")
    return helps


def name_choices(language: Language) -> dict[str, str]:
    """Return the label of each choice.

    Args:
        language: of the page.
    """
    say = language.say
    return {
        "prefer": say("where the server can"),
        "disable": say("none"),
        "off": say("none"),
        "require": say("always"),
        "verify-full": say("always, and verify the server"),
        "bearer": say("a bearer token"),
        "header": say("a header of its own"),
        "basic": say("user and password"),
        "none": say("nothing"),
    }


def explain_problems(language: Language, words: Mapping[str, str]) -> dict[str, str]:
    """Put what is wrong with fields into sentences.

    Args:
        language: of the page.
        words: field to word, of `vixtract.vault.errors.PROBLEMS`.
    """
    say = language.say
    texts = {
        "missing": say("It is needed."),
        "too_long": say("It is too long."),
        "not_a_port": say("A port is a number from 1 to 65535."),
        "not_a_choice": say("Choose one of the list."),
        "not_a_url": say("An address begins with https:// or http:// and holds no password."),
        "not_a_host": say("This is no name or address of a server."),
        "not_a_name": say("Use letters a to z, digits, dot, dash and underscore; at most 64."),
        "not_a_header": say("This is no name of a header."),
        "not_a_fingerprint": say("A fingerprint looks like SHA256:… with 43 characters after it."),
        "not_a_key": say("A private key begins with -----BEGIN … PRIVATE KEY-----."),
        "control": say("There are line ends or invisible characters in it."),
        "taken": say("There is a connection of this name already."),
        "retype": say("The address has changed: type this again, or it could be sent elsewhere."),
        "not_an_owner": say("You are no member of this team."),
        "unknown": say("There is no such kind."),
    }
    return {name: texts.get(word, word) for name, word in words.items()}


def describe_test(language: Language, result: Mapping[str, Any]) -> dict[str, Any]:
    """Put what a test found into a sentence.

    Args:
        language: of the page.
        result: of the vault: `ok`, `word`, `detail`.
    Returns: `ok`, `text`, `detail`.
    """
    say = language.say
    texts = {
        "ok": say("It works: the server took the login and answered."),
        "late": say("No answer in time. A firewall may be in between, or the server is very slow."),
        "broken": say("The test itself failed. The Hub’s log says more."),
        "refused": say("Tests do not go to this appliance itself, nor to a cloud’s metadata."),
        "unknown_host": say("There is no server of this name. Look for a typing error."),
        "nobody_listens": say("The server is there, but nothing listens at this port."),
        "unreachable": say("The server cannot be reached from here: see address and firewall."),
        "wrong_login": say("The server does not take this login: user, password or key is wrong."),
        "no_database": say("The login is right, but there is no such database."),
        "no_right": say("The server knows the login, but does not let it in here."),
        "tls": say("The encryption fails, most often for the certificate."),
        "no_tls": say("The server has no encryption, and this connection asks for it."),
        "wrong_token": say("The service does not take this token or login."),
        "no_page": say("The service answers, but has no such path."),
        "moved": say("The service sends us elsewhere: enter that address, or the right region."),
        "server_error": say("The service answers with an error."),
        "no_bucket": say("The login is right, but there is no such bucket or path."),
        "no_folder": say("The login is right, but there is no such folder."),
        "new_host_key": say(
            "The server’s key is not noted yet. If this is the fingerprint that its operator tells"
            " you, enter it below."
        ),
        "other_host_key": say(
            "The server has another key than the noted one. It may be another server: ask its"
            " operator."
        ),
        "bad_key": say("The private key cannot be read, or its passphrase is wrong."),
        "failed": say("It does not work. This is what the server or its driver says:"),
    }
    text = texts.get(str(result.get("word")), texts["failed"])
    return {"ok": bool(result.get("ok")), "text": text, "detail": str(result.get("detail") or "")}


def name_changes(language: Language) -> dict[str, str]:
    """Return the words for what was done with a connection.

    Args:
        language: of the page.
    """
    say = language.say
    return {
        "made": say("made it"),
        "changed": say("changed it"),
        "deleted": say("deleted it"),
        "handed over": say("handed it over"),
    }
