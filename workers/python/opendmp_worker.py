"""OpenDMP's Python worker: loads each script once, then runs them on the items that the server sends.

The server starts this file in a process of its own and talks to it as sdk/PROTOCOL.md says. Here live the worker's
end of that protocol, the conversions between content and what a script's annotations ask for, `Item`, and the
`opendmp` module that scripts see. Not here: timeouts, memory limits and the sandbox, which the server sees to.

Plain CPython 3.9 or newer, nothing but the standard library; what is dear to import is imported when it is needed.
"""

import ast
import collections
import gc
import io
import json
import linecache
import math
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time
import types

PROTOCOL = 1

# Frame: payload length, kind, descriptors, script number, items or results in it, call number, inline budget.
FRAME = struct.Struct("<IBBHIIQ")
# Item: content (0 inline, 1 descriptor), lengths of media type, hash, name, attributes, inline content; whole size.
ITEM = struct.Struct("<BxHHxxIIIxxxxQ")
# Child: record 1, content (0 same, 1 inline, 2 file), lengths of media type, port, name, attributes; file, offset,
# size.
CHILD = struct.Struct("<BBHHxxIIIxxxxQQ")
# End of an item: record 2, outcome, many, index, nanoseconds, lengths of log and detail.
END = struct.Struct("<BBBxIQII")

HELLO, CALL, LOAD = 1, 2, 3
READY, REFUSED, RESULTS = 129, 130, 131
SAME, INLINE, FILE = 0, 1, 2
EMIT, REJECT, RETRY, FAILED, OVER_MEMORY = 0, 1, 2, 3, 4

IDLE = (1 << 64) - 1          # the page's word 0 while no item is under way
LOG_AT = 4096                 # where the log begins in the page
LARGEST_FRAME = 64 << 20      # a frame of the server beyond this is not believed
LOOK_NANOSECONDS = 50_000     # for the next call, before it is waited for
FORK_NANOSECONDS = 20_000     # an item that took less is not looked at for processes before its call is over
SHORT_NANOSECONDS = 500_000   # a call that took less was short, and another one may follow at once
FEW = 8                       # items of a call that may be short
FLUSH_BYTES = 256 << 10
FLUSH_NANOSECONDS = 20_000_000
TEXT_LIMIT = 32 << 10         # of a message or a traceback


# ---------------------------------------------------------------- what scripts see

class Reject(BaseException):
    """Raised by `reject`. Not an Exception, so that a script's own `except Exception` does not swallow it."""


class Retry(BaseException):
    """Raised by `retry`."""

    def __init__(self, why, after):
        super().__init__(why)
        self.after = after


def reject(why="rejected"):
    """It is the item's fault: no retry, straight to the dead letters."""
    raise Reject(str(why))


def retry(why="to be tried again", after=None):
    """It is the world's fault: try this item again, `after` so many seconds (or a timedelta)."""
    if after is not None:
        after = after.total_seconds() if hasattr(after, "total_seconds") else float(after)
        if not 0 <= after < math.inf:
            raise ValueError(f"after must be a number of seconds from 0 on, not {after}")
    raise Retry(str(why), after)


_UNCHANGED = object()


class Item:
    """One item: what came in, or what `with_` made of it.

    Its content is in one of three places: `_data` (bytes), `_fd` (a descriptor that the server passed, read without
    moving its offset) or `_file` (a number in the worker's `out` folder, for large results).
    """

    __slots__ = ("name", "media_type", "size", "hash", "_data", "_fd", "_file", "_raw", "_attributes", "_worker",
                 "_root", "_same", "_changed", "_media", "_named", "_port", "_path", "_table")

    def __init__(self, worker, name, media_type, digest, size, raw):
        self._worker, self.name, self.media_type, self.hash, self.size, self._raw = (
            worker, name, media_type, digest, size, raw)
        self._data = self._fd = self._file = self._attributes = self._media = self._port = self._path = None
        self._table = None      # what is known of it since it was read as a table
        self._named = False
        self._same, self._changed, self._root = True, {}, self

    def __repr__(self):
        return f"<Item {self.name!r}, {self.size} bytes>"

    @property
    def stem(self):
        """The name up to its last dot."""
        return split(self.name)[0]

    @property
    def ext(self):
        """The name behind its last dot, without the dot."""
        return split(self.name)[1]

    @property
    def attributes(self):
        """Attributes by name, read only; `with_` changes them in its result."""
        if self._attributes is None:
            self._attributes = types.MappingProxyType(json.loads(self._raw) if self._raw else {})
        return self._attributes

    def bytes(self):
        """The content."""
        if self._data is not None:
            return self._data
        with self.open() as file:
            return file.read()

    def text(self, encoding="utf-8", errors="strict"):
        """The content as text."""
        try:
            return self.bytes().decode(encoding, errors)
        except UnicodeDecodeError as error:
            raise hinted(ValueError(
                f"the item is not {encoding} text: byte 0x{error.object[error.start]:02x} at {error.start}"),
                'take it as bytes, or as an Item and say item.text(encoding="latin-1")') from None

    def json(self):
        """The content as a JSON document."""
        data = self.bytes()
        if not data.strip():
            raise ValueError("the item is empty, which is not a JSON document")
        try:
            return json.loads(data)
        except UnicodeDecodeError as error:
            raise ValueError(f"the item is not JSON: byte 0x{error.object[error.start]:02x} at {error.start} "
                             "is not UTF-8") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"the item is not JSON: {error}") from None

    def open(self):
        """The content as a binary file, to be read in pieces."""
        if self._data is not None:
            return io.BytesIO(self._data)
        if self._file is not None:
            return open(self._worker.out_path(self._file), "rb")
        if self._root is not self:
            return self._root.open()
        if self._fd is None:
            raise ValueError("this item's call is over, and its content is gone")
        return io.BufferedReader(Descriptor(self, self.size), 1 << 18)

    def path(self):
        """A scratch file with the content, named like the item; removed when the call is over."""
        if self._path is None:
            self._path = self._worker.lend(self)
        return self._path

    def with_(self, content=_UNCHANGED, *, name=None, media_type=None, port=None, **attributes):
        """A result made of this item: other content (as scripts return it), and what else is given."""
        worker = self._worker
        child = Item(worker, self.name, self.media_type, None, self.size, None)
        child._root, child._same, child._port = self._root, self._same, self._port
        child._media, child._named = self._media, self._named
        child._data, child._file = self._data, self._file
        child._attributes, child._changed = self._attributes, self._changed
        if name is not None:
            child.name = checked_text(name, "name")
            child._named = True
        if port is not None:
            child._port = worker.checked_port(port)
        if attributes:
            child._changed = {**self._changed, **{key: scalar(key, value) for key, value in attributes.items()}}
            child._attributes = types.MappingProxyType({**self.attributes, **child._changed})
        else:
            child._raw = self._raw
        sort = library = None
        if content is not _UNCHANGED:
            library = table_library(content)
            if library:
                data, sort, name = tables().write(library, content, child, worker.script.table, media_type)
                if name != child.name:
                    child.name, child._named = name, True
            else:
                data, sort = worker.content_of(content, child)
            child._same, child.hash = False, None
            if isinstance(data, Spooled):
                child._data, child._file, child.size = None, data.file, data.size
            else:
                child._data, child._file, child.size = data, None, len(data)
        elif self._same:
            child.hash = self.hash
        if media_type is not None:
            child._media = checked_text(media_type, "media_type")
        elif library:
            child._media = None if sort == child._root.media_type else sort
        elif sort is not None or name is not None:
            unknown = None if content is _UNCHANGED else (
                "text/plain" if isinstance(content, str) else "application/octet-stream")
            renamed = split(child.name)[1] != split(self._root.name)[1]
            child._media = media_of(child, sort, renamed, unknown) or child._media
        if child._media is not None:
            child.media_type = child._media
        return child


class Descriptor(io.RawIOBase):
    """Reads an item's descriptor at an offset of its own, so that an item can be opened any number of times."""

    def __init__(self, item, size):
        self._item, self._size, self._at = item, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        if self._item._fd is None:
            raise ValueError("this item's call is over, and its content is gone")
        got = os.preadv(self._item._fd, [buffer], self._at)
        self._at += got
        return got


def opendmp_module():
    """The module that `import opendmp` finds in a script."""
    module = types.ModuleType("opendmp", "What OpenDMP offers to scripts.")
    module.Item, module.reject, module.retry = Item, reject, retry
    module.Reject, module.Retry = Reject, Retry
    module.__all__ = ["Item", "reject", "retry"]
    return module


# ---------------------------------------------------------------- small things

def split(name):
    """Stem and extension, cut at the last dot unless it begins the name."""
    stem, dot, ext = name.rpartition(".")
    return (stem, ext) if dot and stem else (name, "")


def hinted(error, hint):
    """The error, carrying what its reader can do about it."""
    error.opendmp_hint = hint
    return error


def checked_text(value, what):
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if not value or "\0" in value:
        raise ValueError(f"{what} must not be empty or contain NUL")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} {value!r} contains half a surrogate pair, which is not Unicode text") from None
    if len(encoded) > (4096 if what == "name" else 255):
        raise ValueError(f"{what} is too long: {len(encoded)} bytes")
    return value


def scalar(key, value):
    """An attribute as JSON has it: text, number, boolean or null."""
    if hasattr(value, "item") and callable(value.item) and not isinstance(value, (str, int, float)):
        value = value.item()        # numpy's numbers
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (int, float)):
        raise ValueError(f"attribute {key} is {value}, which JSON has no number for")
    kind = type(value).__name__
    raise hinted(TypeError(f"attribute {key} is a {kind}; attributes are str, int, float, bool or None"),
                 f"say {key}=str(…), or keep it in the content")


class Spooled:
    """Content that lies in a numbered file of the worker's `out` folder."""

    __slots__ = ("file", "offset", "size")

    def __init__(self, file, offset, size):
        self.file, self.offset, self.size = file, offset, size


# ---------------------------------------------------------------- media types, and tables in a module of their own

# What Python's own table has not, or has not in every version from 3.9 on.
MORE_MEDIA = {"md": "text/markdown", "yaml": "application/yaml", "yml": "application/yaml", "webp": "image/webp",
              "geojson": "application/geo+json", "jsonl": "application/x-ndjson", "ndjson": "application/x-ndjson",
              "parquet": "application/vnd.apache.parquet", "pq": "application/vnd.apache.parquet",
              "tsv": "text/tab-separated-values", "csv": "text/csv", "json": "application/json",
              "gz": "application/gzip"}
_guess = None


def guess_media(name):
    """The media type that a name's extension stands for, from fixed tables: the same on every machine."""
    global _guess
    ext = split(name)[1].lower()
    if ext in MORE_MEDIA:
        return MORE_MEDIA[ext]
    if _guess is None:
        import mimetypes
        _guess = mimetypes.MimeTypes(filenames=())
    kind, encoding = _guess.guess_type("x." + ext)
    return kind if encoding is None else None


def media_of(item, sort, renamed=False, unknown=None):
    """The media type of a result, or None for that of the item: a new extension decides, then the sort of content."""
    if renamed:
        return guess_media(item.name) or sort or unknown
    if sort == "application/json" and (item.media_type or "").partition(";")[0].endswith(("/json", "+json")):
        return None
    return sort


def tables():
    """The module that reads and writes tables, from beside this one: imported when a script first has to do with one."""
    module = sys.modules.get("opendmp_tables")
    if module is None:
        folder = os.path.dirname(os.path.abspath(__file__))
        sys.path.insert(0, folder)
        try:
            import opendmp_tables as module
        finally:
            sys.path.remove(folder)
    return module


def table_library(value):
    """Which library a value is a table of, without importing any."""
    for base in type(value).__mro__:
        home = base.__module__.partition(".")[0]
        if (home, base.__name__) in (("pandas", "DataFrame"), ("pandas", "Series"), ("polars", "DataFrame"),
                                     ("polars", "LazyFrame"), ("pyarrow", "Table"), ("pyarrow", "RecordBatch")):
            return home
    return None


# ---------------------------------------------------------------- what the function takes

SUPPORTED = ("bytes, str, dict, list, pathlib.Path, pandas.DataFrame, polars.DataFrame, pyarrow.Table or Item")
# Annotations by their full name; those of typing and collections.abc are the generic forms of dict and list.
MODES = {"bytes": "bytes", "bytearray": "bytes", "str": "str", "dict": "dict", "list": "list", "Item": "item",
         "opendmp.Item": "item", "pathlib.Path": "path", "pathlib.PosixPath": "path", "pathlib.PurePath": "path",
         "pandas.DataFrame": "pandas", "pandas.core.frame.DataFrame": "pandas", "polars.DataFrame": "polars",
         "polars.dataframe.frame.DataFrame": "polars", "pyarrow.Table": "pyarrow", "pyarrow.lib.Table": "pyarrow",
         "typing.Dict": "dict", "typing.Mapping": "dict", "typing.List": "list", "typing.Sequence": "list",
         "collections.abc.Mapping": "dict", "collections.abc.Sequence": "list", "typing.Any": "bytes",
         "object": "bytes"}


def mode_by_name(parameter):
    """How a parameter without an annotation is served."""
    return "item" if parameter == "item" else "bytes"


def mode_of_object(annotation):
    """The input mode for an annotation's value; None if it is not one that can be served."""
    if annotation is Item:
        return "item"
    # What `typing.NewType` and `type Name = …` name.
    for behind in ("__supertype__", "__value__"):
        if hasattr(annotation, behind) and not isinstance(annotation, type):
            return mode_of_object(getattr(annotation, behind))
    origin = getattr(annotation, "__origin__", None)
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    kind = type(annotation)
    if (kind.__module__, kind.__name__) in (("types", "UnionType"), ("typing", "_UnionGenericAlias"),
                                            ("typing", "Union")) or str(origin) == "typing.Union":
        modes = {mode_of_object(a) for a in arguments}
        return modes.pop() if len(modes) == 1 else "json" if modes == {"dict", "list"} else None
    target = origin if origin is not None else annotation
    if isinstance(target, type):
        for base in target.__mro__:
            home = "" if base.__module__ == "builtins" else base.__module__ + "."
            mode = MODES.get(home + base.__qualname__)
            if mode and (base is not object or target is object):
                return mode
        home, name = target.__module__.partition(".")[0], target.__qualname__
        return MODES.get(f"{home}.{name}")
    return "bytes" if str(annotation) == "typing.Any" else None


def mode_of_source(node, names):
    """The same from an annotation's syntax, where its value can't be had. None: not known."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            try:
                return mode_of_source(ast.parse(node.value.strip(), mode="eval").body, names)
            except SyntaxError:
                return None
        return None
    if isinstance(node, ast.Subscript):
        if dotted(node.value, names) == "typing.Optional":
            return mode_of_source(node.slice, names)
        return mode_of_source(node.value, names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right)
                 if not (isinstance(side, ast.Constant) and side.value is None)]
        modes = {mode_of_source(side, names) for side in sides}
        return modes.pop() if len(modes) == 1 else "json" if modes == {"dict", "list"} else None
    return MODES.get(dotted(node, names))


def dotted(node, names):
    """`pd.DataFrame` as `pandas.DataFrame`, by what the script imported under which name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return ""


def imported_names(tree):
    """What each name bound by an import stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


TOO_MUCH = "the code is nested too deeply, or takes too much memory, to be read"
LESS = "make it simpler, and keep data in a file beside the script"


class Unusable(Exception):
    """The script can't be run at all: says why, where, and what to do."""

    def __init__(self, message, hint=None, line=None, column=None):
        super().__init__(message)
        self.hint, self.line, self.column = hint, line, column


def parameter_problem(required, accepted, keyword_only):
    if accepted == 0:
        return Unusable("process takes no parameter", "it is called with the item: def process(data: bytes)")
    if required > 1 or keyword_only:
        return Unusable("process takes more than one parameter",
                        "it is called with one; take `item: Item` for name, attributes and content together")
    return None


def inspect_code(code, file_name):
    """What the script's `process` takes and gives, from its syntax alone: nothing of it is run."""
    try:
        tree = ast.parse(code, file_name)
    except SyntaxError as error:
        raise Unusable(error.msg or "invalid syntax", None, error.lineno, error.offset) from None
    except ValueError as error:
        raise Unusable(str(error)) from None
    except RecursionError:
        raise Unusable("the code is nested too deeply to be read") from None
    except MemoryError:     # the parser's word for nesting, too
        raise Unusable(TOO_MUCH, LESS) from None
    names, bound, star = imported_names(tree), {}, False
    todo = collections.deque(tree.body)
    while todo:
        node = todo.popleft()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                star = star or alias.name == "*"
                bound[alias.asname or alias.name.partition(".")[0]] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        bound[name.id] = node
        else:
            for _, value in ast.iter_fields(node):
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.ExceptHandler):
                        todo.extend(part.body)
                    elif isinstance(part, ast.stmt):
                        todo.append(part)
    found = bound.get("process")
    if found is None and not star:
        functions = [node for node in bound.values() if isinstance(node, ast.FunctionDef)]
        hint = "define it: def process(data: bytes) -> bytes: …"
        if len(functions) == 1:
            hint = f"rename `{functions[0].name}` to `process`"
        raise Unusable("there is no function `process`", hint, functions[0].lineno if len(functions) == 1 else None)
    about = {"function": "process", "line": getattr(found, "lineno", None), "parameter": None, "input": None,
             "many": None, "returns": None}
    if isinstance(found, ast.AsyncFunctionDef):
        raise Unusable("process is an async function", "write `def process`; inside, asyncio.run(…) may be used",
                       found.lineno, found.col_offset + 1)
    if isinstance(found, ast.FunctionDef):
        arguments = found.args
        positional = arguments.posonlyargs + arguments.args
        required = len(positional) - len(arguments.defaults)
        accepted = len(positional) + (arguments.vararg is not None)
        demanded = [d for d in arguments.kw_defaults if d is None]
        # A decorator may change what the function takes, so that only loading it tells.
        if not found.decorator_list:
            problem = parameter_problem(required, accepted, demanded)
            if problem:
                problem.line, problem.column = found.lineno, found.col_offset + 1
                raise problem
        inner = [node for node in own_nodes(found) if isinstance(node, (ast.Yield, ast.YieldFrom))]
        about["many"] = bool(inner)
        about["returns"] = ast.unparse(found.returns) if found.returns else None
        if positional:
            first = positional[0]
            about["parameter"] = first.arg
            about["input"] = (mode_by_name(first.arg) if first.annotation is None
                              else mode_of_source(first.annotation, names))
            written = dotted(first.annotation, names) if first.annotation is not None else ""
            if about["input"] is None and written in ("int", "float", "bool", "complex", "set", "tuple", "None"):
                raise Unusable(f"process can't be given a {written}", f"annotate `{first.arg}` as {SUPPORTED}",
                               first.lineno, first.col_offset + 1)
    return about


def own_nodes(function):
    """The nodes of a function's body without those of functions within it."""
    todo = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            todo.extend(ast.iter_child_nodes(node))


def input_mode(function, namespace, code):
    """How the loaded function is to be served."""
    target = function
    while hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    if not isinstance(target, types.FunctionType):
        import inspect
        try:
            parameters = list(inspect.signature(target).parameters.values())
        except (TypeError, ValueError):
            return "bytes"
        empty = inspect.Parameter.empty
        fixed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in fixed if p.default is empty]
        demanded = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is empty]
        rest = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
        name = fixed[0].name if fixed else ""
        annotation = fixed[0].annotation if fixed and fixed[0].annotation is not empty else None
        problem = parameter_problem(len(required), len(fixed) + len(rest), demanded)
    else:
        made = target.__code__
        if made.co_flags & 0x280:       # a coroutine or an asynchronous generator
            raise Unusable("process is an async function", "write `def process`; inside, asyncio.run(…) may be used")
        required = made.co_argcount - len(target.__defaults__ or ())
        demanded = made.co_kwonlyargcount - len(target.__kwdefaults__ or ())
        name = made.co_varnames[0] if made.co_argcount else ""
        annotation = annotations_of(target).get(name)
        problem = parameter_problem(required, made.co_argcount + bool(made.co_flags & 4), demanded)
    if problem:
        raise problem
    if annotation is None:
        return mode_by_name(name)
    mode, written = None, annotation
    if isinstance(annotation, str):
        try:
            mode = mode_of_object(eval(annotation, namespace))      # the script's own text, in its own namespace
        except Exception:
            mode = mode_of_source(ast.Constant(annotation), imported_names(ast.parse(code)))
    else:
        mode = mode_of_object(annotation)
        written = getattr(annotation, "__qualname__", None) or str(annotation)
    if mode is None:
        raise Unusable(f"process can't be given a {written}", f"annotate `{name}` as {SUPPORTED}")
    return mode


def annotations_of(function):
    try:
        return function.__annotations__
    except NameError:       # from 3.14 on they are evaluated only now
        import annotationlib
        return annotationlib.get_annotations(function, format=annotationlib.Format.STRING)


# ---------------------------------------------------------------- logs

class Log:
    """The log of the item under way, written into memory that the server can read even after a crash.

    Entries: stream (u8), length (u32), UTF-8 text. Word 2 of the page is the bytes used, word 3 what was left out.
    """

    def __init__(self, page, words):
        self.page, self.words, self.room = page, words, len(page) - LOG_AT
        self.used, self.entry, self.stream = 0, 0, None
        self.lock = threading.RLock()

    def write(self, stream, data):
        with self.lock:
            used, size = self.used, len(data)
            if stream != self.stream:
                if used + 5 >= self.room:
                    self.words[3] += size
                    return
                struct.pack_into("<BI", self.page, LOG_AT + used, stream, 0)
                self.entry, self.stream, used = used, stream, used + 5
            fits = min(size, self.room - used)
            if fits < size:
                self.words[3] += size - fits
            self.page[LOG_AT + used:LOG_AT + used + fits] = data[:fits]
            used += fits
            struct.pack_into("<I", self.page, LOG_AT + self.entry + 1, used - self.entry - 5)
            self.used = self.words[2] = used

    def take(self):
        """The log so far as a result carries it; the next item begins with an empty one."""
        with self.lock:
            data = self.words[3].to_bytes(8, "little") + bytes(self.page[LOG_AT:LOG_AT + self.used])
            self.used = self.words[2] = self.words[3] = 0
            self.stream = None
            return data

    def put_back(self, data):
        """Has what was taken come before what is written next."""
        with self.lock:
            entries, used = data[8:], self.used
            if used + len(entries) > self.room:
                self.words[3] += len(entries)
                return
            self.page[LOG_AT + used:LOG_AT + used + len(entries)] = entries
            self.used = self.words[2] = used + len(entries)
            self.words[3] += int.from_bytes(data[:8], "little")
            self.stream = None


class LogFile(io.RawIOBase):
    """What lies beneath sys.stdout and sys.stderr."""

    def __init__(self, log, stream, fd):
        self._log, self._stream, self._fd = log, stream, fd

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        self._log.write(self._stream, data)
        return len(data)

    def fileno(self):
        return self._fd     # for subprocesses: the server drains the real ones, too


def text_stream(raw):
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)


def capture_logging(log):
    """Let records of `logging` from INFO on become the item's log, unless the script sends them elsewhere itself."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                level = 3 + min(max((record.levelno - 10) // 10, 0), 3)
                log.write(level, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            except Exception:
                self.handleError(record)

    root, handler, original = logging.getLogger(), Handler(), logging.basicConfig

    def basic_config(**settings):
        # The usual `basicConfig(level=…)` would do nothing where there is a handler already.
        if settings.keys() & {"filename", "stream", "handlers"}:
            root.removeHandler(handler)
            original(**settings)
        elif settings.get("level") is not None:
            root.setLevel(settings["level"])

    root.addHandler(handler)
    logging.basicConfig = basic_config
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)


# ---------------------------------------------------------------- failures

def describe(error, file_name, lines):
    """An exception as the server shows it: only the script's own lines, and where it was raised."""
    import traceback
    try:
        message = str(error)
    except Exception:
        message = "(the exception's own text can't be had)"
    if isinstance(error, SystemExit):
        message = f"the script called sys.exit({'' if error.code is None else repr(error.code)})"
    elif isinstance(error, KeyError) and error.args:
        message = f"no key {message}"
    place = None
    if isinstance(error, SyntaxError) and error.filename == file_name:
        place, message = error.lineno, error.msg or message
    try:
        seen, told = set(), traceback.TracebackException(type(error), error, error.__traceback__)
        own_only(told, file_name, seen)
        if told.stack:
            place = told.stack[-1].lineno
        shown = "".join(told.format()) if told.stack or isinstance(error, SyntaxError) else ""
    except Exception:
        shown = ""
    source = lines[place - 1].strip() if place and 0 < place <= len(lines) else None
    name = type(error).__qualname__
    if type(error).__module__ not in ("builtins", "script", "__main__"):
        name = f"{type(error).__module__}.{name}"
    return {"kind": clean(name), "message": clean(message), "traceback": clean(shown[-TEXT_LIMIT:]),
            "file": file_name if place else None, "line": place, "source_line": clean(source),
            "hint": clean(getattr(error, "opendmp_hint", None))}


def own_only(told, file_name, seen):
    """Drop the frames that are not the script's, along the whole chain of causes."""
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [frame for frame in told.stack if frame.filename == file_name]
    for other in [told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())]:
        own_only(other, file_name, seen)


def clean(text):
    """Text that surely can be encoded, and is not endless."""
    if text is None:
        return None
    return text[:TEXT_LIMIT].encode("utf-8", "backslashreplace").decode()


# ---------------------------------------------------------------- processes of scripts

class Processes:
    """Ends what an item started when the item ends, and leaves what the script started while it was loaded.

    Where the worker has a PID namespace, all processes in it but init and the worker itself are the script's. Elsewhere
    the worker adopts what its children leave behind, so that they all are its descendants.
    """

    def __init__(self, apart):
        self.works = sys.platform == "linux"
        # Both have to say so: what is done to all processes of a namespace must not be done to those of the machine.
        self.apart = apart and os.getppid() == 1
        self.counter = self.last = None
        self.kept, self.finalizers, self.signal = {}, set(), 9
        if not self.works:
            return
        own = os.readlink("/proc/self") == str(os.getpid())
        self.listed = own or not self.apart
        if self.apart and own:
            self.counter = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
            self.look()
        else:
            try:
                import ctypes
                ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER
            except (ImportError, OSError, AttributeError):
                pass        # what leaves its parent is adopted by init, and ends with the worker

    def look(self):
        """Whether there may be a process that was not there before: costs some microseconds."""
        if self.counter is None:
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                return True
            except ChildProcessError:
                return False
        try:
            line = os.pread(self.counter, 100, 0)
            last = line[line.rindex(b" "):]     # the number that was given out last in this namespace
        except (OSError, ValueError):
            return True         # the script closed it
        changed, self.last = last != self.last, last
        return changed

    def others(self):
        """The script's processes with the times at which they began."""
        me, found = os.getpid(), {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        fields = file.read().rpartition(b")")[2].split()
                except OSError:
                    continue
                found[int(name)] = (int(fields[1]), int(fields[19]))
        if self.apart:
            mine = found.keys() - {1, me}
        else:
            mine, more = set(), {me}
            while more:
                more = {pid for pid, (parent, _) in found.items() if parent in more} - mine
                mine |= more
        return {pid: found[pid][1] for pid in mine}

    def keep(self):
        """Have what runs now run on: it was started while a script was loaded."""
        if self.works and self.listed and self.look():
            self.kept = self.others()
        util = sys.modules.get("multiprocessing.util")
        self.finalizers = set(util._finalizer_registry) if util else set()

    def helpers(self):
        """The processes that `multiprocessing` keeps for itself."""
        found = set()
        for module, holder, number in (("resource_tracker", "_resource_tracker", "_pid"),
                                       ("forkserver", "_forkserver", "_forkserver_pid")):
            helper = getattr(sys.modules.get("multiprocessing." + module), holder, None)
            found.add(getattr(helper, number, None))
        return found - {None}

    def close_pools(self):
        """Close the pools that an item left open, so that using one later is an error instead of waiting for ever."""
        util = sys.modules.get("multiprocessing.util")
        left = set(util._finalizer_registry) - self.finalizers if util else ()
        for key in sorted((key for key in left if key[0] is not None and key[0] >= 0), reverse=True):
            finalizer = util._finalizer_registry.get(key)
            try:
                holder = finalizer._weakref and finalizer._weakref()
                # A pool's finalizer alone would leave it one that waits for ever.
                (getattr(holder, "terminate", None) or finalizer)()
            except Exception:
                pass        # what it would have ended is killed below

    def end(self):
        """Kill what an item started, and wait until it is gone."""
        if not self.works or not self.look():
            return
        self.close_pools()
        while True:
            helpers = self.helpers()
            if self.apart and not (self.listed and (self.kept or helpers)):
                try:
                    os.kill(-1, self.signal)        # all of the namespace but init and this one
                except OSError:
                    return
                self.reap(-1)
            else:
                left = [pid for pid, began in self.others().items()
                        if pid not in helpers and self.kept.get(pid) != began]
                if not left:
                    return
                for pid in left:
                    try:
                        os.kill(pid, self.signal)
                    except OSError:
                        pass
                    self.reap(pid)
            time.sleep(0.0001)

    def reap(self, which):
        """Take note of children that ended."""
        multi = sys.modules.get("multiprocessing.process")
        while True:
            try:
                pid, _ = os.waitpid(which, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            # It would wait for them in vain.
            for process in list(multi._children) if multi else ():
                popen = getattr(process, "_popen", None)
                if getattr(popen, "pid", None) == pid and popen.returncode is None:
                    popen.returncode = -self.signal


# ---------------------------------------------------------------- the worker

class Closed(Exception):
    """The server closed the connection."""


class Script:
    """A script as it was loaded: its function, how that is served, and what is needed to tell of its failures."""

    def __init__(self, about):
        self.code, self.file_name, self.outputs = about["code"], about["file_name"], about["outputs"]
        self.table = dict((about.get("parameters") or {}).get("table") or {})
        if self.table.get("delimiter") == "auto":
            del self.table["delimiter"]
        self.lines = self.code.splitlines()
        self.module = types.ModuleType("script")
        self.module.__file__ = self.file_name
        self.function = self.mode = None
        self.printed = b""       # while it was loaded

    def enter(self):
        """Have this be the script: what looks for it by name finds it and no other of this worker."""
        linecache.cache[self.file_name] = (len(self.code), None, self.code.splitlines(True), self.file_name)
        sys.argv = [self.file_name]
        sys.modules["script"] = self.module

    def load(self):
        """Run the module once, and find out how to call its function."""
        import collections.abc
        namespace = self.module.__dict__
        # At hand without an import, so that the simplest scripts need none.
        namespace.update(Item=Item, opendmp=sys.modules["opendmp"], Iterator=collections.abc.Iterator,
                         Iterable=collections.abc.Iterable)
        exec(compile(self.code, self.file_name, "exec", dont_inherit=True), namespace)
        function = namespace.get("process")
        if function is None:
            raise Unusable("there is no function `process`", "define it: def process(data: bytes) -> bytes: …")
        if not callable(function):
            raise Unusable(f"`process` is a {type(function).__name__}, not a function",
                           "define it: def process(data: bytes) -> bytes: …")
        self.function = function
        self.mode = input_mode(function, namespace, self.code)
        if self.mode in ("pandas", "polars", "pyarrow"):
            tables()        # now, so that no item waits for it


class Worker:
    """The loaded scripts and the connection to the server."""

    def __init__(self, connection, page):
        for fd in (connection, page):
            os.set_inheritable(fd, False)
        self.socket = socket.socket(fileno=connection)
        self.page = memoryview(mmap.mmap(page, 0))
        os.close(page)
        self.words = self.page[:64].cast("Q")
        self.log = Log(self.page, self.words)
        self.forked, self.processes = False, None
        self.scripts, self.script, self.refused = {}, None, False
        self.poll, self.quick = select.poll(), False
        self.poll.register(self.socket, select.POLLIN)
        self.call = self.files = self.lent = 0
        self.made, self.claimed, self.folders = set(), set(), []
        self.parts, self.buffered, self.records = [], 0, 0
        self.current = self.spool = self.spool_file = None
        self.budget = self.spool_at = self.children = self.described = 0
        self.logging = False
        sys.stdout = text_stream(LogFile(self.log, 1, 1))
        sys.stderr = text_stream(LogFile(self.log, 2, 2))
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self):
        """A child of the script's own is no worker: it lets go of the connection, and prints where children print."""
        self.forked = True
        if self.processes is not None:
            self.processes.works = False
        self.socket.close()
        self.words = [0] * 8
        sys.stdout = text_stream(io.FileIO(1, "w", closefd=False))
        sys.stderr = text_stream(io.FileIO(2, "w", closefd=False))

    # -- frames

    def receive(self):
        """The next frame: its header's fields, payload and descriptors."""
        if self.quick:
            # Being woken takes many times as long as a short call.
            clock, ready = time.monotonic_ns, self.poll.poll
            until = clock() + LOOK_NANOSECONDS
            while not ready(0) and clock() < until:
                pass
        # macOS has no MSG_CMSG_CLOEXEC; there the descriptors are closed after the item anyway.
        flags = socket.MSG_WAITALL | getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        head, fds, _, _ = socket.recv_fds(self.socket, FRAME.size, 64, flags)
        while len(head) < FRAME.size:
            more = self.socket.recv(FRAME.size - len(head))
            if not more:
                raise Closed
            head += more
        length, kind, descriptors, script, count, call, budget = FRAME.unpack(head)
        if length > LARGEST_FRAME or descriptors != len(fds):
            raise ValueError(f"a frame of {length} bytes and {len(fds)} descriptors is not to be believed")
        payload = self.socket.recv(length, socket.MSG_WAITALL) if length else b""
        while len(payload) < length:
            more = self.socket.recv(length - len(payload), socket.MSG_WAITALL)
            if not more:
                raise Closed
            payload += more
        return kind, script, count, call, budget, payload, fds

    def send(self, kind, payload, count=0, script=0):
        if self.forked:
            os._exit(0)
        self.socket.sendall(FRAME.pack(len(payload), kind, 0, script, count, self.call, 0) + payload)

    def put(self, *parts):
        """Add to the results that go out with the next flush."""
        for part in parts:
            self.parts.append(part)
            self.buffered += len(part)
        self.records += 1

    def flush(self):
        if self.records:
            if self.spool is not None:
                self.spool.flush()
            payload = b"".join(self.parts)
            self.parts.clear()
            self.buffered, records, self.records = 0, self.records, 0
            self.send(RESULTS, payload, records)

    # -- loading

    def greet(self, hello):
        """Take in what concerns all scripts."""
        self.tmp, self.out = hello["scratch"]["tmp"], hello["scratch"]["out"]
        limits = hello["limits"]
        self.inline, self.most_children, self.most_described = limits["inline"], limits["children"], limits["metadata"]
        self.processes = Processes(hello.get("apart", False))
        sys.modules["opendmp"] = opendmp_module()

    def load(self, number, about):
        """Load a script, and answer what it is or why it can't be used."""
        told = {"protocol": PROTOCOL, "worker": f"Python {sys.version.split()[0]}"}
        script = self.script = Script(about)
        script.enter()
        self.refused = True
        self.processes.end()
        try:
            if "logging" in script.code:
                self.watch_logging(imported=True)
            script.load()
            self.watch_logging()
        except Unusable as error:
            self.processes.end()
            problem = {"kind": "Unusable", "message": str(error), "hint": error.hint, "traceback": "", "file": None,
                       "line": error.line, "source_line": None}
            return self.send(REFUSED, json.dumps({**told, **problem, "memory": False}).encode(), script=number)
        except BaseException as error:
            memory = isinstance(error, MemoryError)
            self.processes.end()
            problem = describe(error, script.file_name, script.lines)
            return self.send(REFUSED, json.dumps({**told, **problem, "memory": memory}).encode(), script=number)
        self.refused = False
        self.processes.keep()
        self.scripts[number] = script
        script.printed = self.log.take()
        told.update(input=script.mode, attributes=script.mode == "item")
        self.send(READY, json.dumps(told).encode(), script=number)
        gc.collect()
        gc.freeze()         # what was loaded stays: later collections need not walk it again

    def turn_to(self, number):
        """Have the script of this number be the one that runs."""
        script = self.scripts[number]
        if script is not self.script:
            self.script = script
            script.enter()
            os.chdir(self.tmp)      # wherever the one before went
        if script.printed:
            self.log.put_back(script.printed)
            script.printed = b""

    def watch_logging(self, imported=False):
        if not self.logging and (imported or "logging" in sys.modules):
            self.logging = True
            capture_logging(self.log)

    # -- what goes in

    def item(self):
        """The item under way as an Item, made when first asked for."""
        if isinstance(self.current, Item):
            return self.current
        payload, start, end, media_length, hash_length, name_length, attributes_length, size, fd = self.current
        at = end + name_length
        name = payload[end:at].decode("utf-8", "replace")
        media = payload[at:at + media_length].decode("utf-8", "replace") or None
        at += media_length
        digest = payload[at:at + hash_length].decode("ascii", "replace") or None
        at += hash_length
        item = Item(self, name, media, digest, size, payload[at:at + attributes_length])
        if fd is None:
            item._data = payload[start:end]
        else:
            item._fd = fd
        self.current = item
        return item

    def argument(self):
        """What the function is called with."""
        item, mode = self.item(), self.script.mode
        if mode == "item":
            return item
        if mode == "bytes":
            return item.bytes()
        if mode == "str":
            return item.text()
        if mode == "path":
            return item.path()
        if mode in ("dict", "list", "json"):
            value = item.json()
            wanted = {"dict": dict, "list": list, "json": (dict, list)}[mode]
            if not isinstance(value, wanted):
                kinds = {dict: "an object", list: "an array"}
                found = kinds.get(type(value), "neither object nor array")
                raise hinted(ValueError(f"the item's JSON document is {found}, "
                                        f"not {kinds.get(wanted, 'an object or array')}"),
                             "take it as an Item and call item.json() to have either")
            return value
        return tables().read(mode, item, self.script.table)

    def lend(self, item):
        """A scratch file with an item's content, in a folder of its own so that it can bear the item's name."""
        import pathlib
        self.lent += 1
        folder = os.path.join(self.tmp, f".item-{self.lent}")
        os.mkdir(folder, 0o700)
        self.folders.append(folder)
        name = item.name.replace("/", "_").replace("\0", "_")
        while len(name.encode("utf-8", "surrogateescape")) > 240:
            stem, ext = split(name)
            name = (stem[:-8] + "." + ext) if len(ext) < 32 and ext else name[:-8]
        path = os.path.join(folder, "_" if name in (".", "..", "") else name)
        with open(path, "xb") as file:
            if item._data is not None:
                file.write(item._data)
            else:
                with item.open() as source:
                    copy(source, file, item._fd)
        return pathlib.Path(path)

    # -- what comes out

    def out_path(self, number):
        return os.path.join(self.out, str(number))

    def new_file(self):
        self.files += 1
        self.made.add(self.files)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        return self.files, open(os.open(self.out_path(self.files), flags, 0o600), "wb", buffering=1 << 18)

    def keep(self, data):
        """Bytes as a file in `out`."""
        number, file = self.new_file()
        with file:
            file.write(data)
        return Spooled(number, 0, len(data))

    def keep_path(self, path):
        """A file of the script's as content, taken now: the script may reuse or remove it next."""
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            if size <= self.inline:
                data = source.read(self.inline + 1)
                if len(data) <= self.inline:
                    return data
                source.seek(0)
            number, file = self.new_file()
            with file:
                copy(source, file, source.fileno())
                file.flush()
                return Spooled(number, 0, os.fstat(file.fileno()).st_size)

    def content_of(self, value, item):
        """A script's value as content, and the media type of that sort of content (None: that of the item)."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value), None
        if isinstance(value, str):
            try:
                return value.encode(), None
            except UnicodeEncodeError as error:
                raise hinted(ValueError(f"the text can't be written as UTF-8: half a surrogate pair at {error.start}"),
                             'say text.encode("utf-8", errors=…) to choose what becomes of it') from None
        if isinstance(value, (dict, list)):
            try:
                return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), "application/json"
            except (TypeError, ValueError, RecursionError) as error:
                raise hinted(type(error)(f"the {type(value).__name__} can't be written as JSON: {error}"),
                             "convert what JSON does not know (dates, NaN, numpy values) before returning it") from None
        if isinstance(value, os.PathLike):
            try:
                return self.keep_path(value), None
            except OSError as error:
                raise OSError(f"the file {os.fspath(value)!r} can't be read: {error.strerror}") from None
        if isinstance(value, io.IOBase):
            data = value.read()
            return (data.encode() if isinstance(data, str) else data), None
        if isinstance(value, Item):
            raise hinted(TypeError("the content is an Item"), "pass item.bytes(), or leave the content out to keep it")
        hint = ("return bytes, str, dict, list, a Path, a table, an Item, None to drop it, "
                "or an iterator of these for many")
        if isinstance(value, (tuple, set, frozenset)) or hasattr(value, "__iter__"):
            hint = "return a list for one JSON document, or yield (or return iter(…)) for many"
        raise hinted(TypeError(f"a {type(value).__qualname__} can't become an item"), hint)

    def checked_port(self, port):
        if port not in self.script.outputs:
            declared = ", ".join(self.script.outputs)
            hint = f"declared are {declared}" if declared else f"declare it: outputs: [{port}]"
            raise hinted(ValueError(f"there is no port {port!r}" + (f"; {hint}" if declared else "")), hint)
        return port

    def emit(self, value):
        """One result, as a record."""
        self.children += 1
        if self.children > self.most_children:
            raise hinted(ValueError(f"more than {self.most_children} results of one item"),
                         "let a result hold more rows, or split in two steps")
        if type(value) is bytes and len(value) <= self.inline and len(value) <= self.budget:
            self.budget -= len(value)
            self.described += 200
            self.put(CHILD.pack(1, INLINE, 0, 0, 0, 0, 0, 0, len(value)), value)
            return
        name = media = port = attributes = b""
        if not isinstance(value, Item) and table_library(value):
            value = self.item().with_(value)
        if isinstance(value, Item):
            content, name, media, port, attributes = self.parts_of(value)
        else:
            item = self.item()
            content, sort = self.content_of(value, item)
            media = (media_of(item, sort) or "").encode()
        # About what this costs the server in memory.
        self.described += 200 + len(name) + len(media) + len(port) + 16 * len(attributes)
        if self.described > self.most_described:
            raise hinted(ValueError("the results of this item have too many names and attributes to be kept"),
                         "keep large values in the content, or let a result hold more rows")
        if content is None:
            record = (SAME, 0, 0, 0, b"")
        elif isinstance(content, Spooled):
            self.claimed.add(content.file)
            record = (FILE, content.file, content.offset, content.size, b"")
        elif len(content) > self.inline:
            content = self.keep(content)
            self.claimed.add(content.file)
            record = (FILE, content.file, 0, content.size, b"")
        elif len(content) > self.budget:
            # Many small results: after the budget is used up they share one file instead of the server's memory.
            if self.spool is None:
                self.spool_file, self.spool = self.new_file()
                self.spool_at = 0
                self.claimed.add(self.spool_file)
            self.spool.write(content)
            record = (FILE, self.spool_file, self.spool_at, len(content), b"")
            self.spool_at += len(content)
        else:
            self.budget -= len(content)
            record = (INLINE, 0, 0, len(content), content)
        where, file, offset, size, inline = record
        self.put(CHILD.pack(1, where, len(media), len(port), len(name), len(attributes), file, offset, size),
                 name, media, port, attributes, inline)

    def parts_of(self, item):
        """What a record says of an Item: only what differs from the item under way."""
        changed, name, media = item._changed, item.name if item._named else None, item._media
        content = None
        if not item._same:
            content = item._data
            if item._file in self.made and item._file not in self.claimed:
                content = Spooled(item._file, 0, item.size)
            elif item._file is not None:
                content = self.again(item)
        elif item._root is not self.current:
            # An item kept from an earlier call: nothing of it is that of the item under way.
            content, name, media = item.bytes(), item.name, item.media_type
            changed = dict(item.attributes)
        attributes = json.dumps(changed, ensure_ascii=False).encode("utf-8", "replace") if changed else b""
        if len(attributes) > 1 << 20:
            raise hinted(ValueError(f"the attributes take {len(attributes)} bytes"), "keep large values in the content")
        return (content, (name or "").encode(), (media or "").encode(), (item._port or "").encode(), attributes)

    def again(self, item):
        """A large content once more: the server takes each file once, and what an earlier call made is removed."""
        try:
            with item.open() as source:
                return self.keep(source.read())
        except OSError:
            raise ValueError("this item was made in an earlier call, and its content is gone") from None

    def emit_result(self, result):
        """All results of one call; whether they came from an iterator."""
        if result is None:
            return 0
        if isinstance(result, (Item, str, dict, list, os.PathLike, bytearray, memoryview, io.IOBase)):
            self.emit(result)
            return 0
        if not hasattr(type(result), "__next__"):
            self.emit(result)
            return 0
        for one in result:
            if one is not None:
                self.emit(one)
            if self.buffered > FLUSH_BYTES:
                self.flush()
        return 1

    # -- calls

    def run(self, count, call, budget, payload, fds):
        """Run the function on each item of a frame."""
        self.call, self.budget, self.claimed = call, budget, set()
        self.watch_logging()
        clock, words, log, function = time.monotonic_ns, self.words, self.log, self.script.function
        unpack, plain, base = ITEM.unpack_from, self.script.mode == "bytes", call << 32
        inline, end_processes = self.inline, self.processes.end
        at, fds = 0, list(reversed(fds))
        began = now = flushed = clock()
        for index in range(count):
            words[1] = now
            words[0] = base | index
            where, media, digest, name, attributes, length, size = unpack(payload, at)
            start = at + 32
            end = start + length
            at = end + name + media + digest + attributes
            fd = fds.pop() if where else None
            self.current = (payload, start, end, media, digest, name, attributes, size, fd)
            self.children = self.described = 0
            outcome, many, detail = EMIT, 0, b""
            try:
                result = function(payload[start:end] if plain and fd is None else self.argument())
                if type(result) is bytes and len(result) <= inline and len(result) <= self.budget:
                    self.budget -= len(result)
                    self.parts += (CHILD.pack(1, INLINE, 0, 0, 0, 0, 0, 0, len(result)), result)
                    self.buffered += 40 + len(result)
                    self.records += 1
                elif result is not None:
                    many = self.emit_result(result)
            except BaseException as error:
                if self.forked:
                    os._exit(1)
                outcome, detail = self.failure(error)
            result = None
            if self.forked:
                os._exit(0)
            if clock() - now > FORK_NANOSECONDS:
                end_processes()
            entry = log.take() if log.used or words[3] else b""
            if fd is not None or self.folders or self.made:
                self.clear_up(fd)
            then, now = now, clock()
            self.put(END.pack(2, outcome, many, index, now - then, len(entry), len(detail)), entry, detail)
            if self.buffered > FLUSH_BYTES or now - flushed > FLUSH_NANOSECONDS:
                self.flush()
                flushed = now
        self.current = None
        end_processes()
        if self.spool is not None:
            self.spool.flush()
        self.flush()
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        words[0] = IDLE
        self.quick = count <= FEW and clock() - began < SHORT_NANOSECONDS

    def failure(self, error):
        """Outcome and detail for what the function raised."""
        if isinstance(error, MemoryError):
            error.__traceback__ = None      # lets go of what filled the memory
            return OVER_MEMORY, b""
        if isinstance(error, Reject):
            return REJECT, json.dumps({"reason": clean(str(error))}).encode()
        if type(error).__name__ == "BrokenProcessPool" and not hasattr(error, "opendmp_hint"):
            hinted(error, "processes end with the item that started them: make the pool inside of `process`, by `with`")
        if isinstance(error, Retry):
            return RETRY, json.dumps({"reason": clean(str(error)), "after": error.after}).encode()
        return FAILED, json.dumps(describe(error, self.script.file_name, self.script.lines), ensure_ascii=False).encode()

    def clear_up(self, fd):
        """Close and remove what belonged to the item that is done."""
        if isinstance(self.current, Item):
            self.current._fd = None
        if fd is not None:
            os.close(fd)
        if self.folders:
            import shutil
            for folder in self.folders:
                shutil.rmtree(folder, ignore_errors=True)
            self.folders.clear()
        # Made by with_ and never returned. What was claimed is the server's to remove.
        for number in self.made - self.claimed:
            os.unlink(self.out_path(number))
        self.made.clear()


def copy(source, target, fd):
    """Copy a file; in the kernel where it can."""
    at = 0
    try:
        while fd is not None:
            got = os.copy_file_range(fd, target.fileno(), 1 << 30, at)
            at += got
            if not got:
                return
    except (OSError, AttributeError):
        pass        # another file system, or another system: the plain way goes on where this one stopped
    source.seek(at)
    while True:
        piece = source.read(1 << 20)
        if not piece:
            return
        target.write(piece)


def serve(connection, page):
    """Load scripts and run calls as the server says, until it hangs up. Takes two descriptors."""
    import faulthandler
    faulthandler.enable(file=2)
    worker = Worker(connection, page)
    worker.words[0] = IDLE
    try:
        kind, _, _, _, _, payload, _ = worker.receive()
        hello = json.loads(payload)
        if kind != HELLO or hello.get("protocol") != PROTOCOL:
            raise SystemExit(f"this worker speaks protocol {PROTOCOL}, the server said {hello.get('protocol')}")
        worker.greet(hello)
        while True:
            kind, script, count, call, budget, payload, fds = worker.receive()
            if worker.refused:
                # The server has read by now what the refused script printed.
                worker.refused = False
                worker.log.take()
            if kind == CALL:
                worker.turn_to(script)
                worker.run(count, call, budget, payload, fds)
            elif kind == LOAD:
                worker.load(script, json.loads(payload))
    except (Closed, ConnectionError):
        return


def check(file_name):
    """Read code from standard input, and say what it is without running it."""
    code = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        answer = {"ok": True, **inspect_code(code, file_name)}
    except Unusable as error:
        answer = {"ok": False, "message": clean(str(error)), "hint": error.hint, "line": error.line,
                  "column": error.column}
    except MemoryError:
        answer = {"ok": False, "message": TOO_MUCH, "hint": LESS, "line": None, "column": None}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__" and sys.argv[1:2] == ["--check"]:
    check(sys.argv[2])
