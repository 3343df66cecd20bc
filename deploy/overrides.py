"""Further settings for a private system, as a person types them: `SECTION.KEY=VALUE,...`."""

from __future__ import annotations

import argparse
import json

from deploy.trial import Sections

FORM = "SECTION.KEY=VALUE,..."


def overrides(text: str) -> Sections:
    """Return sections of settings, values read as JSON; raises argparse.ArgumentTypeError for what is not FORM."""
    sections: Sections = {}
    for setting in text.split(",") if text else ():
        key, _, value = setting.partition("=")
        section, _, name = key.partition(".")
        try:
            sections = merged(sections, {section: {name: json.loads(value)}})
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{setting} is not SECTION.KEY=VALUE with a value as in JSON") from error
    return sections


def merged(one: Sections, other: Sections) -> Sections:
    """Return both, the other's values before the one's."""
    return {name: {**one.get(name, {}), **other.get(name, {})} for name in {**one, **other}}
