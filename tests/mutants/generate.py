"""Writes the sources of the money core with all mutants in them, each asleep until TW_MUTANT names it.

usage: generate.py SRC OUT FILE...   (files below SRC; a mutant whose text is not there any more is an error)
"""

import pathlib
import sys

from mutants import MUTANTS

PRELUDE = """#include "mutants/mutant.h"
"""


def generate(source, out, name):
    text = (source / name).read_text()
    # The places first, then all mutants of a place at once: so none changes what another one looks for.
    places = {}
    for number, mutant in enumerate(MUTANTS, 1):
        if mutant.file == name:
            places.setdefault((mutant.within or mutant.find, mutant.find), []).append((number, mutant))
    for (within, find), here in sorted(places.items(), key=lambda place: -len(place[0][0])):
        first = here[0]
        text_of = find
        for number, mutant in here:
            text_of = (
                f"if (::tradewind::MutantIs({number})) {{ {mutant.bad} }} else {{ {text_of} }}"
                if mutant.statement
                else f"(::tradewind::MutantIs({number}) ? ({mutant.bad}) : ({text_of}))"
            )
        assert text.count(within) == 1, f"mutant {first[0]} ({first[1].what}): {text.count(within)} x {within!r} in {name}"
        text = text.replace(within, within.replace(find, text_of, 1))
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRELUDE + text)


if __name__ == "__main__":
    for file in sys.argv[3:]:
        generate(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), file)
    missing = {mutant.file for mutant in MUTANTS} - set(sys.argv[3:])
    assert not missing, f"files of mutants that nobody builds: {missing}"
