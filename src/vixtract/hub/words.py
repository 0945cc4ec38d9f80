"""Words of the login page; the person's language is chosen as on the home page."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ENGLISH = {
    "title": "Sign in",
    "username": "Username",
    "password": "Password",
    "show": "Show password",
    "hide": "Hide password",
    "submit": "Sign in",
    "with": "Sign in with {}",
    "or": "or",
    "directory": "With your account of this server or of your organisation's directory.",
    "insecure": "This page is not encrypted: others on the network could read your password.",
}
_RUSSIAN = {
    "title": "Вход",
    "username": "Имя пользователя",
    "password": "Пароль",
    "show": "Показать пароль",
    "hide": "Скрыть пароль",
    "submit": "Войти",
    "with": "Войти через {}",
    "or": "или",
    "directory": "С учётной записью этого сервера или каталога вашей организации.",
    "insecure": "Страница не зашифрована: пароль могут прочитать другие в этой сети.",
    # What the Hub and the authenticator say.
    "Invalid username or password": "Неверное имя пользователя или пароль",
    "Login form invalid or expired. Try again.": "Форма входа устарела. Попробуйте ещё раз.",
    "The directory (LDAP) cannot be reached at the moment. Local accounts can sign in; "
    "all others: try again in some minutes.": "Каталог (LDAP) сейчас недоступен. Локальные "
    "учётные записи могут войти; остальные — попробуйте через несколько минут.",
    "This account is not in the group that may sign in here.": "Эта учётная запись не входит в "
    "группу, которой разрешён вход.",
    "This account is disabled in the directory.": "Эта учётная запись отключена в каталоге.",
    "Your password has expired. Change it in the directory.": "Срок действия пароля истёк. "
    "Смените его в каталоге.",
}


def choose_language(cookie: str | None, accepted: str) -> str:
    """Return `en` or `ru`: the choice kept by the home page, else the browser's first language.

    Args:
        cookie: value of `vixtract_lang`.
        accepted: header Accept-Language.
    """
    if cookie in ("en", "ru"):
        return cookie
    return "ru" if accepted.strip().lower().startswith("ru") else "en"


def texts_of(language: str) -> Mapping[str, str]:
    """Return the words of a language.

    Args:
        language: `en` or `ru`.
    """
    return _RUSSIAN if language == "ru" else _ENGLISH


def translate(message: str, language: str) -> str:
    """Put what the Hub or the authenticator says into the person's language, where it is known.

    Args:
        message: in English.
        language: `en` or `ru`.
    """
    if language != "ru":
        return message
    locked = re.fullmatch(r"Too many failed attempts\. Try again in (\d+) min\.", message)
    if locked:
        return f"Слишком много неудачных попыток. Повторите через {locked[1]} мин."
    return _RUSSIAN.get(message, message)
