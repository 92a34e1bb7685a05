"""Compiles every .proto file with protoc and imports what comes out, and looks for what other generators need.

protoc is stricter than the compiler of the build: to it a method and a message of one name are a contradiction.
Says on stderr what does not hold and ends with 1; the last line on stdout is `ok`.

usage: compiled.py DIRECTORY
"""

import sys
import tempfile
from pathlib import Path

from client import check, generate


def main():
    (directory,) = sys.argv[1:]
    files = sorted(Path(directory).glob("**/*.proto"))
    check(len(files) >= 2, "there are files to compile", files)
    for file in files:
        with tempfile.TemporaryDirectory() as out:
            messages, _ = generate(file, out)
        options = messages.DESCRIPTOR.GetOptions()
        for option in ("go_package", "java_package"):
            check(getattr(options, option), f"{file.name} has the option {option}")
        check("/" in options.go_package, "a Go package is an import path", options.go_package)
    print("ok")


if __name__ == "__main__":
    main()
