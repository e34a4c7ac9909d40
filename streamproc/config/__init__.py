"""Graph files: TOML to GraphSpec. Every error says file:line, key, expected and got.

`load` reads a file, `loads` its text, `check` builds the whole graph as well, and
`json_schema` describes the file to editors. Paths inside a file stay as written:
relative to where the command runs.
"""

from streamproc.config.describe import json_schema
from streamproc.config.file import check, load, loads

__all__ = ["check", "json_schema", "load", "loads"]
