"""Completion of `cifar-search` in bash, as a script made from the commands' own options."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from search.cli import Parser

SCRIPT = """\
# completion of cifar-search in bash: source <(cifar-search --completion)
_cifar_search() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} known=
  if [ "$COMP_CWORD" = 1 ]; then
    known="{commands}"
  else
    case "${{COMP_WORDS[1]}} $before" in
{choices}
    esac
    if [ -z "$known" ] && [ "${{word#-}}" != "$word" ]; then
      case "${{COMP_WORDS[1]}}" in
{options}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _cifar_search cifar-search
"""


def script(commands: Iterable[str]) -> str:
    """The script; words that are no option are completed as file names."""
    parsers = {name: _parser(name) for name in commands}
    choices = [
        f'      "{name} {option}") known="{" ".join(map(str, action.choices))}" ;;'
        for name, parser in parsers.items()
        for option, action in parser._option_string_actions.items()
        if action.choices
    ]
    options = [f'        {name}) known="{" ".join(p._option_string_actions)}" ;;' for name, p in parsers.items()]
    return SCRIPT.format(commands=" ".join(parsers), choices="\n".join(choices), options="\n".join(options))


def _parser(name: str) -> Parser:
    made: Parser = importlib.import_module(f"search.{name}").parser()
    return made
