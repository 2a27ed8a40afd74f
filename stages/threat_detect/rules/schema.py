"""The written form of a rule file: pydantic models of both forms, and plain sentences for what is wrong with one.

Knows what a file may say, not what it means: classes are resolved and rules compared in ``rules.py``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from stages.strict_json import path, show
from stages.threat_detect.rules.email_address import MAX_ADDRESS, is_address
from stages.time_zones import find_zone, zone_names

MAX_NAME: Final = 80
MAX_CLASS_ID: Final = 1_000_000
_SHOWN_PROBLEMS: Final = 5

_GLOB = re.compile(r"(?:[A-Za-z0-9.*?-]|\[!?[A-Za-z0-9.-]+\])+", re.ASCII)


def wrong(sentence: str) -> PydanticCustomError:
    """Return the error to raise in a validator, with its sentence."""
    return PydanticCustomError("lookout", "{sentence}", {"sentence": sentence})


def text_of(value: object, what: str, limit: int) -> str:
    """Return the value if it is text of 1 to ``limit`` characters on one line. Raises the error of ``wrong``."""
    if not isinstance(value, str):
        raise wrong(f"expected {what} as text, got {show(value)}")
    if not value or len(value) > limit:
        raise wrong(f"expected {what} of 1 to {limit} characters, got {len(value)}")
    if not value.isprintable() or value != value.strip():
        raise wrong(f"expected {what} without line breaks, control characters or outer blanks, got {show(value)}")
    return value


def _name(value: object) -> str:
    return text_of(value, "a name", MAX_NAME)


def _user(value: object) -> str:
    return text_of(value, "a user", MAX_ADDRESS)


def _address(value: object) -> str:
    text = text_of(value, "an e-mail address", MAX_ADDRESS)
    if not is_address(text):
        raise wrong(f"expected a plain e-mail address such as home@example.com, got {show(value)}")
    return text


def _glob(value: object) -> str:
    text = text_of(value, "a device or a glob", MAX_NAME)
    if not _GLOB.fullmatch(text):
        raise wrong(f"no device can match {show(value)}: a device has letters, digits, . and -; a glob also * ? [ ]")
    return text


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise wrong(f"expected a number from 0 to 1, got {show(value)}")
    return float(value)


def _class(value: object) -> int | str:
    if isinstance(value, str):
        return text_of(value, "a class name", MAX_NAME)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_CLASS_ID:
        return value
    raise wrong(f"expected a class id or name, got {show(value)}")


def _class_id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_CLASS_ID:
        raise wrong(f"expected a class id, got {show(value)}")
    return value


def _timezone(value: object) -> str:
    text = text_of(value, "a time zone", MAX_NAME)
    if find_zone(text) is not None:
        return text
    close = difflib.get_close_matches(text, zone_names(), n=2, cutoff=0.6)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    raise wrong(f"unknown time zone {show(value)}{meant}")


Name = Annotated[str, BeforeValidator(_name)]
User = Annotated[str, BeforeValidator(_user)]
Address = Annotated[str, BeforeValidator(_address)]
AddressOrNone = Annotated[str, BeforeValidator(lambda value: value if value == "" else _address(value))]
"""Empty where nobody is named."""
Glob = Annotated[str, BeforeValidator(_glob)]
Share = Annotated[float, BeforeValidator(_share)]
ClassName = Annotated[int | str, BeforeValidator(_class)]
ClassId = Annotated[int, BeforeValidator(_class_id)]
TimeZone = Annotated[str, BeforeValidator(_timezone)]


class Form(BaseModel):
    """Base of all forms: strict, and unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ClassForm(Form):
    """One class that matters; ``1`` and ``"person"`` are short for ``{"class": 1}`` and ``{"class": "person"}``."""

    of_class: ClassName = Field(alias="class")
    min_score: Share | None = None
    min_area: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return {"class": value}
        if not isinstance(value, dict):
            raise wrong(f'expected a class id, a name, or an object with "class", got {show(value)}')
        return value


class RuleForm(Form):
    """One rule of the richer form."""

    name: Name
    user: User
    devices: Annotated[list[Glob], Field(min_length=1, max_length=100)] = ["*"]
    classes: Annotated[list[ClassForm], Field(min_length=1, max_length=1000)]
    min_score: Share | None = None
    min_area: Share = 0.0
    sender: Address = Field(alias="from")
    to: Annotated[list[Address], Field(min_length=1, max_length=100)]
    timezone: TimeZone = "UTC"


class RulesForm(Form):
    """A file of the richer form."""

    version: Literal[1] = 1
    labels: Literal["coco", "custom"] = "coco"
    rules: Annotated[list[RuleForm], Field(min_length=1, max_length=1000)]


class OriginalForm(Form):
    """A file of the original pipeline: one rule for all devices. Its own example has empty addresses: threats are
    found, and nobody is told."""

    from_email: AddressOrNone
    to_email: AddressOrNone
    threat_classes: Annotated[list[ClassId], Field(min_length=1, max_length=1000)]


_FORMS: Final[Mapping[str, type[Form]]] = {"": RulesForm, "rules": RuleForm, "classes": ClassForm}


def problems(exc: ValidationError, forms: Mapping[str, type[Form]] = _FORMS) -> str:
    """Return the defects as sentences: ``rules[2].classes[0].min_score: expected a number from 0 to 1, got 1.7``.

    ``forms`` names the form of what lies below each field, and below the whole file as ``""``.
    """
    found = [_sentence(error, forms) for error in exc.errors(include_url=False)]
    more = len(found) - _SHOWN_PROBLEMS
    return "; ".join([*found[:_SHOWN_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def _sentence(error: ErrorDetails, forms: Mapping[str, type[Form]]) -> str:
    place = path(error["loc"])
    kind, got, ctx = error["type"], error["input"], error.get("ctx", {})
    plain = {
        "list_type": f"expected a list, got {show(got)}",
        "model_type": f"expected an object, got {show(got)}",
        "too_short": _too_short(ctx),
        "too_long": f"expected at most {ctx.get('max_length')} entries, got {ctx.get('actual_length')}",
        "literal_error": f"expected {ctx.get('expected')}, got {show(got)}",
        "lookout": str(ctx.get("sentence")),
    }
    if kind == "missing":
        return f"{place}: this field is missing"
    if kind == "extra_forbidden":
        return f"{place}: unknown field{_meant(error['loc'], forms)}"
    return f"{place or 'the file'}: {plain.get(kind, error['msg'])}"


def _too_short(ctx: Mapping[str, object]) -> str:
    least = ctx.get("min_length")
    few = f"expected at least {least} entries, got {ctx.get('actual_length')}"
    return "expected at least one entry, got none" if least == 1 else few


def _meant(place: tuple[int | str, ...], forms: Mapping[str, type[Form]]) -> str:
    names = [step for step in place[:-1] if isinstance(step, str) and step in forms]
    form = forms[names[-1] if names else ""]
    known = [field.alias or name for name, field in form.model_fields.items()]
    close = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(known)}"
