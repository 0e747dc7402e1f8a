"""Tables for scripts: content as a pandas, polars or pyarrow table, and what they give back as content.

Rows of text are read here and not by the libraries, so that all three read a file alike, nothing of it is lost without
a word (`007`, a first column, digits), and what a script leaves alone can be written as it stood in the file. What is
read how is in docs/FILES.md. Not here: what a script's function takes, and how results travel; that is the worker's.

Imported by the worker when a script first takes or gives a table. Libraries are imported by the script, or when it asks
for a table of one. CPython 3.9 or newer, nothing but the standard library and the library that is asked for.
"""

import codecs
import csv
import io
import itertools
import json
import re

from opendmp_worker import guess_media, hinted, split

FORMATS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "json": "json", "geojson": "json", "jsonl": "jsonl",
           "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}
MEDIA = {"csv": "text/csv", "tsv": "text/tab-separated-values", "json": "application/json",
         "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
BY_MEDIA = {"text/csv": "csv", "application/csv": "csv", "text/x-csv": "csv", "application/x-csv": "csv",
            "text/comma-separated-values": "csv", "text/tab-separated-values": "tsv", "text/tsv": "tsv",
            "application/json": "json", "text/json": "json", "application/x-ndjson": "jsonl",
            "application/ndjson": "jsonl", "application/jsonl": "jsonl", "application/x-jsonlines": "jsonl",
            "application/jsonlines": "jsonl", "application/vnd.apache.parquet": "parquet",
            "application/x-parquet": "parquet"}
# Longer marks first: UTF-32 begins as UTF-16 does.
MARKS = ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Endings of files that are no text and that not every Python knows the media type of.
OTHER_NAMES = {"xlsx", "xls", "xlsm", "xlsb", "ods", "numbers", "docx", "doc", "odt", "pptx", "gz", "bz2", "xz", "zst",
               "zip", "7z", "tar", "tgz", "feather", "arrow", "orc", "avro", "h5", "hdf5", "nc", "npy", "npz", "pkl",
               "pickle", "sav", "dta", "sas7bdat", "rds", "rdata", "db", "sqlite", "sqlite3", "mdb", "accdb", "shp", "gpkg"}
# What is no text, by its first bytes.
FOREIGN = ((b"PK\x03\x04", "a workbook or another zip file"), (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
           (b"\x1f\x8b", "compressed by gzip"), (b"%PDF", "a PDF"), (b"SQLite format 3\0", "an SQLite database"))
# As pandas has them. The empty text is a missing value always.
MISSING = {"pandas": frozenset(("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
                                "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")),
           "polars": frozenset(("",)),
           "pyarrow": frozenset(("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
                                 "1.#QNAN", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"))}
TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
TYPES = {"str": "text", "int": "int", "float": "float", "bool": "bool"}

KEEP_BYTES = 64 << 20     # of a larger item the cells' own text is not kept: it takes many times the room of numbers
WHOLE_BYTES = 8 << 20     # read in one piece up to here
CHUNK_CELLS = 500_000     # looked at together
EXACT = 1 << 53           # integers up to here are exact as floats
LOOK_LINES = 25           # for the delimiter

# Each finds a line that is not of the sort: all cells of a column are looked at in one search.
NOT_INT = re.compile(r"(?m)^(?![ \t]*[+-]?[0-9]+[ \t]*$)")
NOT_FLOAT = re.compile(r"(?m)^(?![ \t]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
                       r"|(?i:inf(?:inity)?))[ \t]*$)")
NOT_COMMA = re.compile(r"(?m)^(?![ \t]*[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)?[ \t]*$)")
MAY_BE_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]|\.[0-9]|[iI])")
LEADING_ZERO = re.compile(r"(?m)^[ \t]*[+-]?0[0-9]")
LONG_NUMBER = re.compile(r"[0-9.,]{16}")
# A comma that can't group thousands: not three digits behind it, or a zero or four digits before it.
DECIMAL_COMMA = re.compile(r"(?m),(?![0-9]{3}[ \t]*$)|^[ \t]*[+-]?0,|[0-9]{4},")
SEP_LINE = re.compile(r'"?sep=(.)"?[ \t]*\r?\n?', re.IGNORECASE)


# ---------------------------------------------------------------- which format

def by_media(media):
    """The format of a media type; None if it is not that of a table."""
    media = (media or "").partition(";")[0].strip().lower()
    return BY_MEDIA.get(media) or ("json" if media.endswith("+json") else None)


def by_name(name):
    return FORMATS.get(split(name)[1].lower())


def by_content(item):
    """The format by the first bytes. What is no table at all is refused."""
    with item.open() as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise hinted(ValueError(f"the item can't be read as a table: it is {what}"),
                         "take it as a pathlib.Path, and open it with what reads such files")
    codec = next((codec for mark, codec in MARKS if head.startswith(mark)), "utf-8")
    text = head.decode(codec, "replace").lstrip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return "csv"
    return "jsonl" if re.match(r"\{.*\}[ \t]*\r?\n[ \t]*\{", text) else "json"


def foreign(media):
    """Whether a media type is that of something else than a table or plain text."""
    media = (media or "").partition(";")[0].strip().lower()
    return bool(media) and not by_media(media) and media not in ("text/plain", "application/octet-stream")


def result_format(child, media_type):
    """The format of a result and its name, which go together."""
    root, name = child._root, child.name
    ext = split(name)[1].lower()
    renamed = ext != split(root.name)[1].lower()
    named, table = by_name(name), root._table
    if media_type is not None and foreign(media_type):
        raise hinted(ValueError(f"a table can't be written as {media_type}"),
                     "write it as CSV, JSON, JSON lines or Parquet, or return the bytes of the file that you made")
    kind = by_media(media_type)
    if kind is None and renamed:
        kind = named
    if kind is None:
        kind = by_media(child.media_type) or named or (table.format if table is not None else "csv")
    family = {"tsv": "csv"}.get(kind, kind)
    if named is not None and {"tsv": "csv"}.get(named, named) == family:
        return (named if family == "csv" and renamed else kind), name
    if named is not None:
        if child._named:
            raise hinted(ValueError(f"the name {name!r} is that of a {named} table, but the media type says {kind}"),
                         "give the name and the media type of one format")
        return kind, f"{split(name)[0]}.{'csv' if family == 'csv' else kind}"
    if ext and (ext in OTHER_NAMES or foreign(guess_media(name))) and (renamed or table is None):
        raise hinted(ValueError(f"a table can't be written under the name {name!r}: it would be {kind} in a file "
                                f"of another kind"),
                     f'say item.with_(table, name=item.stem + ".{kind}")')
    return kind, name


# ---------------------------------------------------------------- text and its shape

class Shape:
    """How a file of rows is written: what a result repeats."""

    __slots__ = ("codec", "mark", "delimiter", "decimal", "newline", "before", "header", "newline_at_end")

    def __init__(self, settings):
        self.codec, self.mark = settings.get("encoding") or "utf-8", b""
        self.delimiter, self.decimal = settings.get("delimiter") or ",", settings.get("decimal") or "."
        self.newline, self.before = "\n", []
        self.header, self.newline_at_end = settings.get("header", True), True


def charset(media):
    """The encoding that a media type names."""
    for part in (media or "").split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "charset":
            try:
                return codecs.lookup(value.strip().strip('"')).name
            except LookupError:
                return None
    return None


def not_text(shape, error):
    where = f"byte 0x{error.object[error.start]:02x}" if error.start < len(error.object) else "its end"
    return hinted(ValueError(f"the item can't be read as a csv table: it is not {shape.codec} text ({where})"),
                  "name its encoding at the step, for example `table: { encoding: windows-1252 }`")


class Lines:
    """The lines of an item, decoded; opened anew for each time that they are read."""

    def __init__(self, item, settings):
        self.item, self.settings, self.shape = item, settings, Shape(settings)
        shape = self.shape
        try:
            text = codecs.lookup(shape.codec)._is_text_encoding
        except LookupError:
            text = False
        if not text:
            raise hinted(ValueError(f"there is no encoding {shape.codec!r}"),
                         "name one of Python's, such as `table: { encoding: windows-1252 }`")
        with item.open() as file:
            head = file.read(4)
        mark = next(((mark, codec) for mark, codec in MARKS if head.startswith(mark)), None)
        if mark is not None:
            shape.mark, shape.codec = mark
        elif not settings.get("encoding"):
            shape.codec = charset(item.media_type) or "utf-8"
        self.text = None
        if item.size <= WHOLE_BYTES:
            try:
                self.text = item.bytes()[len(shape.mark):].decode(shape.codec)
            except UnicodeDecodeError as error:
                raise not_text(shape, error) from None

    def open(self):
        if self.text is not None:
            return io.StringIO(self.text, newline="")
        file = self.item.open()
        file.read(len(self.shape.mark))
        return io.TextIOWrapper(file, encoding=self.shape.codec, newline="")

    def start(self):
        """Find out delimiter and line ends from the first lines; those before the header are kept for the result."""
        shape, settings = self.shape, self.settings
        with self.open() as lines:
            first = [lines.readline() for _ in range(settings.get("skip_rows") or 0)]
            head = lines.readline()
            said = SEP_LINE.fullmatch(head)
            if said:
                first.append(head)
                head = lines.readline()
            if "\0" in head:
                raise hinted(ValueError("the item can't be read as a csv table: it has NUL bytes, as UTF-16 without a "
                                        "byte-order mark has"),
                             "name its encoding at the step: `table: { encoding: utf-16-le }`")
            shape.before = [line for line in first if line]
            if not settings.get("delimiter"):
                if said:
                    shape.delimiter = said.group(1)
                else:
                    sample = [head, *(lines.readline() for _ in range(LOOK_LINES))]
                    shape.delimiter = find_delimiter(sample)
            shape.newline = "\r\n" if head.endswith("\r\n") else "\r" if head.endswith("\r") else "\n"

    def rows(self, strict=True):
        """The rows of text, as lists, with the line that each ends on. Blank lines are no rows."""
        with self.open() as lines:
            for _ in self.shape.before:
                lines.readline()
            rows = csv.reader(lines, delimiter=self.shape.delimiter, strict=strict)
            for row in rows:
                if row:
                    yield rows.line_num, row


def find_delimiter(sample):
    """The delimiter of the first lines: one that cuts the header, and all other rows into as many parts."""
    sample = [line for line in sample if line.strip("\r\n")]
    found = {}
    for delimiter in ",;\t|":
        if not sample or delimiter not in sample[0]:
            continue
        rows = list(csv.reader(sample, delimiter=delimiter))
        # The last row may go on behind what was looked at.
        counts = [len(row) for row in (rows[:-1] if len(sample) > LOOK_LINES and len(rows) > 2 else rows) if row]
        if counts and counts[0] > 1:
            found[delimiter] = (all(count == counts[0] for count in counts), counts[0])
    if not found:
        return ","
    even = [delimiter for delimiter in found if found[delimiter][0]]
    if len(even) > 1:
        # In a text a comma has a space behind it, and in a number a digit on each side.
        text = "".join(sample)
        plain = [delimiter for delimiter in even if delimiter + " " not in text]
        if plain and len(plain) < len(even):
            return plain[0]
        if "," in even and ";" in even:
            data = "".join(sample[1:])
            if data.count(",") and data.count(",") == len(re.findall(r"(?<=[0-9]),(?=[0-9])", data)):
                even.remove(",")
        return "\t" if "\t" in even else even[0]
    if even:
        return even[0]
    return max(found, key=lambda delimiter: found[delimiter][1])


# ---------------------------------------------------------------- what a column holds

class Column:
    """What the cells of a column are, gathered over all rows."""

    __slots__ = ("missing", "texts_missing", "comma_allowed", "comma_sure", "said", "seen", "gaps", "low", "high", "kind")

    def __init__(self, library, shape, settings, said):
        named = settings.get("na_values")
        self.missing = MISSING[library] if named is None else frozenset(named) | {""}
        # pyarrow has no missing values among texts, unless it is told which.
        self.texts_missing = frozenset() if library == "pyarrow" and named is None else self.missing
        self.said = said
        decimal = settings.get("decimal")
        self.comma_allowed = decimal == "," or (decimal is None and shape.delimiter != ",")
        self.comma_sure = decimal == "," or shape.delimiter == ";"
        self.seen, self.gaps, self.low, self.high, self.kind = set(), False, 0, 0, None

    def look(self, cells):
        missing, present = self.missing, cells
        if not missing.isdisjoint(cells):
            self.gaps = True
            present = [cell for cell in cells if cell not in missing]
        if present and "text" not in self.seen:
            self.seen.add(self.sort(present))

    def sort(self, present):
        """What cells are that are there."""
        if present[0] in TRUTH:
            return "bool" if TRUTH.keys() >= set(present) else "text"
        if not MAY_BE_NUMBER.match(present[0]):
            return "text"       # one such cell is enough
        joined = "\n".join(present)
        if joined.count("\n") >= len(present) or (LEADING_ZERO.search(joined) and self.said is None):
            return "text"
        if not NOT_INT.search(joined):
            try:
                numbers = list(map(int, present))
            except ValueError:      # thousands of digits
                return "text"
            self.low, self.high = min(self.low, min(numbers)), max(self.high, max(numbers))
            return "int"
        if "," not in joined:
            if self.comma_sure and self.comma_allowed and self.said is None and "." in joined \
                    and re.search(r"(?m)^[ \t]*[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+[ \t]*$", joined):
                return "dots"       # 1.234: a number where the comma is for decimals, and another one elsewhere
            if not NOT_FLOAT.search(joined) and (not LONG_NUMBER.search(joined) or all(map(held, present))):
                return "float"
            return "text"
        if self.comma_allowed and not NOT_COMMA.search(joined):
            if self.comma_sure or DECIMAL_COMMA.search(joined):
                if not LONG_NUMBER.search(joined) or all(held(with_point(cell)) for cell in present):
                    return "comma"
        return "text"

    def decide(self):
        """The kind of the whole column: text where its cells are not all of one."""
        seen = self.seen
        if self.said is not None:
            self.kind = "comma" if self.said == "float" and "comma" in seen else self.said
        elif not seen:
            self.kind = "empty"
        elif seen == {"int"}:
            if self.gaps and (self.low < -EXACT or self.high > EXACT):
                self.kind = "text"          # with gaps it would be a float
            elif -(1 << 63) <= self.low and self.high < 1 << 63:
                self.kind = "int"
            else:
                self.kind = "uint" if self.low >= 0 and self.high < 1 << 64 and not self.gaps else "text"
        elif len(seen) == 1 and "dots" not in seen:
            self.kind, = seen
        elif seen == {"int", "float"} or seen == {"int", "comma"}:
            exact = -EXACT <= self.low and self.high <= EXACT
            self.kind = ("comma" if "comma" in seen else "float") if exact else "text"
        elif "comma" in seen and seen <= {"int", "comma", "dots"}:
            self.kind = "comma"
        else:
            self.kind = "text"
        return self

    def values(self, cells):
        """Cells as Python values, None where one is missing."""
        missing, kind = self.missing, self.kind
        if kind == "text":
            missing = self.texts_missing
            if self.gaps and missing:
                return [None if cell in missing else cell for cell in cells]
            return list(cells)
        if kind == "empty":
            return [None] * len(cells)
        make = {"int": int, "uint": int, "float": float, "comma": number_with_comma, "bool": TRUTH.__getitem__}[kind]
        if self.gaps:
            return [None if cell in missing else make(cell) for cell in cells]
        return list(map(make, cells))


def with_point(cell):
    return cell.replace(".", "").replace(",", ".")


def number_with_comma(cell):
    return float(with_point(cell))


def held(cell):
    """Whether a float holds all digits of a number. The long print of a float does: all its digits are the float's."""
    if not LONG_NUMBER.search(cell):
        return True
    mantissa, _, exponent = cell.strip().lower().lstrip("+-").partition("e")
    if not exponent and "." not in mantissa:
        return len(mantissa) < 300 and int(mantissa) == int(float(mantissa))
    whole = mantissa.partition(".")[0].lstrip("0")
    digits = mantissa.replace(".", "").strip("0")
    if len(digits) <= 17:
        return len(whole) <= 15 or bool(exponent) or float(whole) <= EXACT
    shown = f"{abs(float(cell)):.{len(digits) - 1}e}"
    return shown.partition("e")[0].replace(".", "") == digits


class Kept:
    """An item as it was read: how its rows are written, and where cells that a script left alone find their text."""

    __slots__ = ("format", "library", "lines", "shape", "columns", "header", "labels", "count", "cells", "index",
                 "records", "data")

    def __init__(self, kind, library):
        self.format, self.library = kind, library
        self.lines = self.shape = self.columns = self.cells = self.index = self.records = self.data = None
        self.header = self.labels = ()
        self.count = 0


def read_rows(library, item, settings, kind):
    """Rows of text: what was kept of them, and the columns' values piece by piece."""
    kept = Kept(kind, library)
    lines = kept.lines = Lines(item, {**settings, "delimiter": settings.get("delimiter")
                                      or ("\t" if kind == "tsv" else None)})
    kept.shape = lines.shape
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))      # the usual one refuses cells of 128 KiB
    try:
        lines.start()
        try:
            pieces = kept_pieces(kept, lines, settings, True)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise hinted(ValueError("the item can't be read as a csv table: a quote that is opened is not closed"),
                             "a cell with a quote in it is written \"like \"\"this\"\"\"") from None
            pieces = kept_pieces(kept, lines, settings, False)
    except csv.Error as error:
        raise hinted(ValueError(f"the item can't be read as a csv table: {error}"),
                     "name delimiter and encoding at the step: `table: { delimiter: \";\", encoding: utf-16 }`") from None
    except UnicodeDecodeError as error:
        raise not_text(kept.shape, error) from None
    return kept, pieces


def kept_pieces(kept, lines, settings, strict):
    """Look at all cells, and have them as pieces: columns of at most so many rows."""
    said = settings.get("dtype") or {}
    kept.columns, kept.header, kept.count = None, None, 0
    pieces = []
    for piece in pieces_of(kept, lines, strict):
        if kept.columns is None:
            kept.labels = labels_of(kept.header, kept.library) if kept.shape.header else unnamed(piece, kept.library)
            unknown = [name for name in said if name not in kept.labels and name not in (kept.header or ())]
            if unknown:
                raise hinted(ValueError(f"`dtype` names a column that the table has not: {unknown[0]!r}"),
                             f"its columns are {', '.join(map(str, kept.labels[:20]))}")
            types = [said.get(label) or said.get(str(label)) for label in kept.labels]
            kept.columns = [Column(kept.library, kept.shape, settings, TYPES.get(said)) for said in types]
        for column, cells in zip(kept.columns, piece):
            column.look(cells)
        kept.count += len(piece[0]) if piece else 0
        if lines.item.size <= KEEP_BYTES:
            pieces.append(piece)
    for column in kept.columns or ():
        column.decide()
    if any(column.kind == "comma" for column in kept.columns or ()):
        kept.shape.decimal = ","
    if lines.item.size > KEEP_BYTES:
        return pieces_of(kept, lines, strict)
    kept.cells = pieces
    return pieces


def unnamed(piece, library):
    return [number if library == "pandas" else f"column_{number + 1}" if library == "polars" else f"f{number}"
            for number in range(len(piece))]


def pieces_of(kept, lines, strict):
    """Columns of cells, so many rows at a time. A row longer than the header is an error; a shorter one has gaps."""
    with lines.open() as text:
        for _ in kept.shape.before:
            text.readline()
        reader = csv.reader(text, delimiter=kept.shape.delimiter, strict=strict)
        first = next((row for row in reader if row), None)      # blank lines are no rows
        if first is None:
            return
        width = len(first)
        if kept.shape.header:
            kept.header, more = first, []
        else:
            more = [first]
        room, empty = max(1, CHUNK_CELLS // width), True
        while True:
            rows = more + list(itertools.islice(reader, room))
            if not rows:
                break
            more = []
            lengths = set(map(len, rows))
            if lengths != {width}:
                if max(lengths) > width:
                    raise too_long(kept, lines, strict, width)
                rows = [row if len(row) == width else row + [""] * (width - len(row)) for row in rows if row]
            if rows:
                empty = False
                yield list(zip(*rows))
        if empty and kept.columns is None:
            yield [()] * width


def too_long(kept, lines, strict, width):
    """The error for the first row that is longer than the header."""
    number, row = next((number, row) for number, row in lines.rows(strict) if len(row) > width)
    first = "the header" if kept.shape.header else "the first row"
    delimiter = {"\t": "tab"}.get(kept.shape.delimiter, kept.shape.delimiter)
    error = ValueError(f"the item can't be read as a csv table: line {number} has {len(row)} cells, "
                       f"{first} has {width} (delimiter {delimiter!r})")
    if not row[-1] and len(row) == width + 1:
        return hinted(error, "the row ends with a delimiter: the header needs one, too, or a name for that column")
    if width == 1:
        return hinted(error, "is that the header? Name delimiter, decimal sign or the lines before the header at the "
                             "step: `table: { delimiter: \";\", decimal: \",\", skip_rows: 2 }`")
    return hinted(error, "give each column a name, quote cells that have the delimiter in them, or name the delimiter "
                         "at the step: `table: { delimiter: \";\" }`")


def labels_of(header, library):
    """Names of columns as the library makes them of a header."""
    if library == "pyarrow":
        return list(header)
    taken, labels, counts = set(header), [], {}
    for number, name in enumerate(header):
        if library == "pandas" and not name:
            name = f"Unnamed: {number}"
        label = name
        while label in counts:
            counts[name] += 1
            label = f"{name}.{counts[name]}" if library == "pandas" else f"{name}_duplicated_{counts[name] - 1}"
            if label in taken:
                continue
        counts.setdefault(name, 0)
        counts.setdefault(label, 0)
        labels.append(label)
    return labels


# ---------------------------------------------------------------- reading

def read(library, item, settings):
    """The item as a table of `library` (pandas, polars, pyarrow)."""
    kind = "csv"
    try:
        module = __import__(library)
        kind = by_media(item.media_type) or by_name(item.name) or (by_content(item) if item.size else "csv")
        if kind == "parquet":
            kept = Kept(kind, library)
            table = read_parquet(library, item) if item.size else empty(library)
        elif kind in ("json", "jsonl"):
            kept, table = read_json(library, item, kind)
        else:
            kept, table = read_delimited(library, module, item, settings, kind)
    except ImportError as error:
        raise hinted(error, f"name {library} among the script's dependencies (PEP 723)") from None
    except MemoryError:
        raise
    except Exception as error:
        if hasattr(error, "opendmp_hint"):
            raise
        raise hinted(ValueError(f"the item can't be read as a {kind} table: {error}"),
                     "the format follows the item's media type, its name, then its first bytes") from error
    if library == "pandas":
        kept.index = table.index
    item._table = kept
    return table


def empty(library):
    module = __import__(library)
    return module.table({}) if library == "pyarrow" else module.DataFrame()


def read_parquet(library, item):
    with item.open() as file:
        if library == "pandas":
            import pandas
            return pandas.read_parquet(file)
        if library == "polars":
            import polars
            return polars.read_parquet(io.BytesIO(file.read()))
        import pyarrow.parquet
        return pyarrow.parquet.read_table(file)


def read_delimited(library, module, item, settings, kind):
    if not item.size:
        kept = Kept(kind, library)
        kept.shape = Shape({**settings, "delimiter": settings.get("delimiter") or ("\t" if kind == "tsv" else None)})
        return kept, empty(library)
    check_foreign(item)
    kept, pieces = read_rows(library, item, settings, kind)
    if not kept.labels and not kept.columns:
        return kept, empty(library)
    make = {"pandas": pandas_column, "polars": polars_column, "pyarrow": pyarrow_column}[library]
    parts = [[] for _ in kept.columns]
    for piece in pieces:
        for part, column, cells, label in zip(parts, kept.columns, piece, kept.labels):
            try:
                part.append(make(module, column, column.values(cells)))
            except (ValueError, KeyError, OverflowError):
                raise hinted(ValueError(f"column {label!r} can't be read as {column.said or column.kind}: a cell is "
                                        "no such value"),
                             "let `dtype` say `str` for it, or name what stands for a missing value in `na_values`"
                             ) from None
    if library == "pandas":
        if kept.count == 0:
            table = module.DataFrame({number: [] for number in range(len(parts))}, dtype=object)
        else:
            joined = [part[0] if len(part) == 1 else join_pandas(module, part) for part in parts]
            table = module.DataFrame(dict(enumerate(joined)))
        table.columns = kept.labels
        return kept, table
    if library == "polars":
        columns = [module.concat(part) if len(part) > 1 else part[0] for part in parts]
        table = module.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
        table.columns = list(kept.labels)       # given above, an empty one would become another
        return kept, table
    columns = [module.chunked_array(part) for part in parts]
    return kept, module.Table.from_arrays(columns, names=list(kept.labels))


def check_foreign(item):
    with item.open() as file:
        head = file.read(16)
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise hinted(ValueError(f"the item can't be read as a csv table: it is {what}"),
                         "take it as a pathlib.Path, and open it with what reads such files")


def pandas_column(pandas, column, values):
    import numpy
    kind = column.kind
    if kind == "int":
        if not column.gaps:
            return numpy.array(values, dtype="int64")
        if column.said:
            return pandas.array(values, dtype="Int64")
    if kind == "uint":
        return numpy.array(values, dtype="uint64")
    if kind == "bool" and not column.gaps:
        return numpy.array(values, dtype="bool")
    if kind == "bool" and column.said:
        return pandas.array(values, dtype="boolean")
    if kind == "text":
        return values if not column.gaps else [numpy.nan if value is None else value for value in values]
    if kind == "bool":
        return numpy.array([numpy.nan if value is None else value for value in values], dtype=object)
    return numpy.array(values, dtype="float64")      # None becomes NaN


def join_pandas(pandas, parts):
    if isinstance(parts[0], list):
        # Each made compact for itself: as Python's own texts they take much more room.
        kind = pandas.Series(["x"]).dtype
        return pandas.concat([pandas.Series(part, dtype=kind) for part in parts], ignore_index=True)
    import numpy
    return numpy.concatenate(parts) if isinstance(parts[0], numpy.ndarray) else pandas.concat(
        [pandas.Series(part) for part in parts], ignore_index=True)


def polars_column(polars, column, values):
    kinds = {"int": polars.Int64, "uint": polars.UInt64, "float": polars.Float64, "comma": polars.Float64,
             "bool": polars.Boolean, "text": polars.String, "empty": polars.String}
    return polars.Series("", values, dtype=kinds[column.kind])


def pyarrow_column(pyarrow, column, values):
    kinds = {"int": pyarrow.int64(), "uint": pyarrow.uint64(), "float": pyarrow.float64(), "comma": pyarrow.float64(),
             "bool": pyarrow.bool_(), "text": pyarrow.string(), "empty": pyarrow.null()}
    return pyarrow.array(values, type=kinds[column.kind])


# -- JSON

def read_json(library, item, kind):
    """A JSON document or JSON lines as a table. Texts stay texts, and numbers keep all their digits."""
    kept = Kept(kind, library)
    data = item.bytes()
    records = parse_json(data, kind)
    index = None
    if isinstance(records, dict):
        values = list(records.values())
        if values and all(isinstance(value, list) for value in values) and len(set(map(len, values))) == 1:
            records = [dict(zip(records, row)) for row in zip(*values)] if values[0] else []
            if not records:
                return kept, from_records(library, records, list(json.loads(data)))
        elif values and all(isinstance(value, dict) for value in values) and library == "pandas":
            import pandas
            table = pandas.DataFrame(records)
            if all(re.fullmatch("[0-9]{1,18}", label) for label in table.index):
                table.index = [int(label) for label in table.index]
            return kept, table
        else:
            records = [records] if records else []
    elif not isinstance(records, list):
        raise ValueError("the document is neither an array nor an object")
    if records and all(isinstance(record, dict) for record in records):
        kept.records, kept.data, kept.count = records, data, len(records)
    elif any(isinstance(record, dict) for record in records) or library != "pandas" and records:
        raise ValueError("not all elements of the array are objects")
    table = from_records(library, records, None)
    if kept.records is not None:
        kept.labels = list(table.column_names if library == "pyarrow" else table.columns)
    return kept, table


def parse_json(data, kind):
    if kind == "json":
        if not data.strip():
            return []
        try:
            return json.loads(data)
        except UnicodeDecodeError as error:
            raise ValueError(f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8") from None
        except json.JSONDecodeError as error:
            hint = "the format follows the item's media type, its name, then its first bytes"
            if error.msg == "Extra data":
                hint = "if it has one object on each line, name it .jsonl, or give it the media type application/x-ndjson"
            raise hinted(ValueError(f"the item can't be read as a json table: {error}"), hint) from None
    records = []
    for number, line in enumerate(data.decode(json.detect_encoding(data)).split("\n"), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return records


def from_records(library, records, names):
    if library == "pandas":
        import pandas
        table = pandas.DataFrame(records, columns=names)
        # With gaps integers become floats, which hold fewer digits.
        for label in table.columns:
            if table[label].dtype.kind == "f" and records:
                cells = [record.get(label) if isinstance(record, dict) else record for record in records]
                if any(type(cell) is int and not -EXACT <= cell <= EXACT for cell in cells):
                    table[label] = pandas.Series(cells, dtype=object)
        return table
    names = names or list(dict.fromkeys(key for record in records for key in record))
    if library == "polars":
        import polars
        # All rows are looked at: a type that is guessed from the first ones would be wrong for later ones.
        return polars.DataFrame({name: polars_json([record.get(name) for record in records]) for name in names})
    import pyarrow
    if not records:
        return pyarrow.table({name: pyarrow.array([], pyarrow.null()) for name in names})
    return pyarrow.table({name: pyarrow_json([record.get(name) for record in records]) for name in names})


def polars_json(values):
    import polars
    try:
        return polars.Series(values, strict=True)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        if all(value is None or isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            if all(type(value) is not int or -EXACT <= value <= EXACT for value in values):
                return polars.Series(values, dtype=polars.Float64, strict=False)
        return polars.Series([value if value is None or isinstance(value, str)
                              else json.dumps(value, ensure_ascii=False) for value in values], dtype=polars.String)


def pyarrow_json(values):
    import pyarrow
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        if all(value is None or isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            if all(type(value) is not int or -EXACT <= value <= EXACT for value in values):
                return pyarrow.array(values, type=pyarrow.float64())
        return pyarrow.array([value if value is None or isinstance(value, str)
                              else json.dumps(value, ensure_ascii=False) for value in values], type=pyarrow.string())


# ---------------------------------------------------------------- writing

def write(library, value, child, settings, media_type=None):
    """A table as the content of a result: its bytes, its media type, and its name."""
    kind, name = result_format(child, media_type)
    kept = child._root._table
    if kept is not None and (kept.library != library
                             or {"tsv": "csv"}.get(kept.format, kept.format) != {"tsv": "csv"}.get(kind, kind)):
        kept = None
    view = {"pandas": PandasView, "polars": PolarsView, "pyarrow": ArrowView}[library](value, child._root._table)
    renamed = split(child.name)[1].lower() != split(child._root.name)[1].lower()
    if kind == "parquet":
        return view.parquet(), MEDIA[kind], name
    if kind in ("json", "jsonl"):
        # application/geo+json is JSON, too.
        finer = by_media(child.media_type) == kind and media_type is None and not renamed
        return write_json(view, kept, kind), child.media_type if finer else MEDIA[kind], name
    if kept is not None and kept.shape is not None and not renamed:
        shape = kept.shape
    elif settings and not renamed:
        shape, kept = Shape(settings), None
    else:
        shape, kept = Shape({}), None
    if kind == "tsv" and shape.delimiter != "\t" and (renamed or kept is None):
        shape.delimiter = "\t"
    media = MEDIA["tsv" if shape.delimiter == "\t" and (kind == "tsv" or by_name(name) != "csv") else "csv"]
    if by_media(child.media_type) in ("csv", "tsv") and not renamed:
        media = child.media_type
    return write_rows(view, kept, shape), media, name


def write_rows(view, kept, shape):
    """Rows of text: cells that the script left alone as they stood, the rest as the library has them."""
    plain = view.odd_csv(shape)
    if plain is not None:
        return encoded(plain, shape)
    columns, header = [], []
    for name, texts in view.labels_written(shape):
        header.append(name)
        columns.append(texts)
    found = originals(view, kept) if kept is not None and kept.cells is not None else None
    if found is not None and found.untouched and not columns:
        return kept.lines.item.bytes()
    for number, label in enumerate(view.labels):
        texts = None
        if found is not None and number in found.texts:
            cells, same = found.texts[number]
            if all(same):
                texts = cells
            else:
                texts = [cell if one else own for cell, one, own in
                         zip(cells, same, in_style(view.texts(number, shape), found.kept_of(number)))]
        columns.append(view.texts(number, shape) if texts is None else texts)
        header.append(found.header(number) if found is not None else str(label))
    if not columns:
        return b""
    out = io.StringIO()
    out.writelines(shape.before)
    writer = csv.writer(out, delimiter=shape.delimiter, lineterminator=shape.newline)
    if shape.header:
        writer.writerow(header)
    writer.writerows(zip(*columns))
    return encoded(out.getvalue(), shape)


def encoded(text, shape):
    try:
        return shape.mark + text.encode(shape.codec)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise hinted(ValueError(f"the table can't be written as {shape.codec}, in which it was read: it has the "
                                f"character {character!r}"),
                     "return item.with_(table.to_csv().encode()) to write it as UTF-8") from None


def in_style(texts, column):
    """Truth values that are new in a column, as the others stand there."""
    if column is None or column[0].kind != "bool":
        return texts
    case = next((cell for cell in column[1] if cell in TRUTH), "True")
    change = str.lower if case.islower() else str.upper if case.isupper() else str
    return [change(text) if text in TRUTH else text for text in texts]


class Originals:
    """The original text of a result's columns, as far as they have one, and which of their cells are unchanged."""

    def __init__(self, kept, view):
        self.kept, self.view, self.texts, self.of, self.untouched = kept, view, {}, {}, False

    def kept_of(self, number):
        at = self.of.get(number)
        return None if at is None else (self.kept.columns[at], self.texts[number][0])

    def header(self, number):
        at, label = self.of.get(number), self.view.labels[number]
        if at is not None and self.kept.header and self.kept.labels[at] == label:
            return self.kept.header[at]
        return str(label)


def originals(view, kept):
    """Find the cells of the file that a result's cells are. None where rows can't be told apart for certain."""
    rows = view.rows(kept)          # for each row its number in the file, True: the same, None: not known
    if rows is None or not kept.columns or kept.count == 0 and view.count:
        return None
    found = Originals(kept, view)
    places = {}
    for at, label in enumerate(kept.labels):
        places.setdefault(label, at)
    cells = kept.cells
    whole, shared = [], 0
    unused = set(range(len(kept.labels))) - {places[label] for label in view.labels if label in places}
    for number, label in enumerate(view.labels):
        at, by_place = places.get(label), False
        if len(set(kept.labels)) < len(kept.labels):
            at = number if number < len(kept.labels) and kept.labels[number] == label else None
        if at is None and len(view.labels) == len(kept.labels) and number in unused:
            at, by_place = number, True     # renamed, if all its cells are the same
        if at is None:
            continue
        text = cells[0][at] if len(cells) == 1 else [cell for piece in cells for cell in piece[at]]
        if rows is not True:
            text = [text[row] for row in rows]
        column = kept.columns[at]
        same = view.same(number, column, column.values(text))
        if same is None:
            same = [False] * len(text)
        if by_place and not all(same):
            continue
        shared += not by_place
        if all(same):
            whole.append(number)
        found.texts[number], found.of[number] = (text, same), at
    if rows is not True or not view.sure:
        # The labels of rows alone may be new ones, so at least something has to tell the rows apart and be unchanged.
        everything = len([n for n in whole if n in found.of]) == len(found.of) and shared
        if not everything and not distinct([found.texts[n][0] for n in whole], view.count):
            return None
    found.untouched = (rows is True and len(whole) == len(view.labels) == len(kept.labels)
                       and [found.of[n] for n in whole] == list(range(len(kept.labels)))
                       and list(view.labels) == list(kept.labels))
    return found


def distinct(columns, count):
    return bool(columns) and len(set(zip(*columns))) == count


def is_missing(value):
    """None, NaN, NaT and pandas.NA."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ in ("NAType", "NaTType")


def same_values(values, were):
    """Which values are what they were, one by one, without taking 1 for True."""
    return [now is was or (now == was if type(now) is str else is_missing(now) if was is None else
            (now == was and (isinstance(now, bool) or type(now).__name__ in ("bool_", "bool")) == isinstance(was, bool))
            if isinstance(now, (str, int, float)) or hasattr(now, "dtype") else False)
            for now, was in zip(values, were)]


def cell_text(value, decimal):
    """A value of Python as CSV has it."""
    if type(value) is str:
        return value
    if type(value) is float:
        return "" if value != value else repr(value) if decimal == "." else repr(value).replace(".", decimal)
    if is_missing(value):
        return ""
    if isinstance(value, float):
        return str(value).replace(".", decimal)
    return str(value)


def reread(text):
    """The cells of a column that a library wrote as CSV."""
    return [row[0] if row else "" for row in csv.reader(io.StringIO(text, newline=""), lineterminator="\n")]


class PandasView:
    """What is written of a pandas table."""

    def __init__(self, value, read):
        self.frame = value if hasattr(value, "columns") else value.to_frame()
        self.labels = list(self.frame.columns)
        self.count, self.read = len(self.frame), read
        self.sure = False

    def series(self, number):
        return self.frame.iloc[:, number]

    def written_levels(self):
        """Levels of row labels that hold data: all but numbers of rows."""
        index = self.frame.index
        if index.nlevels > 1 or index.names[0] is not None:
            return True
        if index.dtype.kind not in "iu":
            return len(index) > 0 and not (index.dtype.kind == "O" and len(index) == 0)
        if self.read is None or self.read.index is None or index.nlevels > 1 or not len(index):
            return False
        # Those of the rows that were read, or new ones, or both one below the other.
        most = max(len(self.read.index), len(index))
        return not (index.min() >= 0 and index.max() < most) and bool(index.is_unique)

    def labels_written(self, shape):
        if not self.written_levels():
            return []
        index = self.frame.index
        import pandas
        return [("" if index.names[level] is None else str(index.names[level]),
                 self.texts_of(pandas.Series(index.get_level_values(level)), shape)) for level in range(index.nlevels)]

    def odd_csv(self, shape):
        """Headers of several rows are written by pandas itself."""
        if self.frame.columns.nlevels == 1:
            return None
        return self.frame.to_csv(index=self.written_levels(), sep=shape.delimiter, decimal=shape.decimal,
                                 lineterminator=shape.newline)

    def rows(self, kept):
        index = self.frame.index
        if index.is_(kept.index):
            self.sure = True
            return True
        if index.nlevels > 1 or index.dtype.kind not in "iu" or not index.is_unique:
            return None
        if not len(index):
            return []
        if index.min() < 0 or index.max() >= kept.count:
            return None
        return index.tolist()

    def same(self, number, column, were):
        series, kind = self.series(number), column.kind
        dtype = series.dtype
        if kind == "empty":
            return series.isna().tolist()
        if kind in ("int", "uint", "float", "comma"):
            if getattr(dtype, "kind", "O") not in "iuf":
                return None
            if isinstance(dtype.kind, str) and dtype.kind in "iu" and kind in ("int", "uint") and not column.gaps:
                import numpy
                return (series.to_numpy() == numpy.array(were, dtype="uint64" if kind == "uint" else "int64")).tolist()
            import numpy
            now = series.to_numpy(dtype="float64", na_value=numpy.nan)
            was = numpy.array(were, dtype="float64")
            return ((now == was) | ((now != now) & (was != was))).tolist()
        if kind == "text" and (dtype.kind not in "O" and str(dtype) not in ("category",)):
            return None
        if kind == "bool" and dtype.kind not in "bO":
            return None
        return same_values(series.astype(object).tolist(), were)

    def texts(self, number, shape):
        return self.texts_of(self.series(number), shape)

    def texts_of(self, series, shape):
        dtype, decimal = series.dtype, shape.decimal
        name = str(dtype)
        if name in ("int64", "int32", "uint64", "bool", "int16", "int8", "uint8"):
            return list(map(str, series.tolist()))
        if name == "float64":
            texts = ["" if value != value else repr(value) for value in series.tolist()]
            return texts if decimal == "." else [text.replace(".", decimal) for text in texts]
        if name in ("object", "str", "string"):
            return [cell_text(value, decimal) for value in series.tolist()]
        return reread(series.to_csv(header=False, index=False, decimal=decimal, lineterminator="\n"))

    def parquet(self):
        buffer = io.BytesIO()
        self.frame.to_parquet(buffer)
        return buffer.getvalue()

    def records(self):
        """Names, and for each its values as Python has them."""
        frame = self.frame
        if self.written_levels():
            frame = frame.reset_index(names=["index" if name is None else name for name in frame.index.names]) \
                if frame.index.nlevels == 1 else frame.reset_index()
        names = ["_".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in frame.columns]
        return names, [frame.iloc[:, number].astype(object).tolist() for number in range(len(names))]


class PolarsView:
    """What is written of a polars table."""

    def __init__(self, value, read):
        self.frame = value.collect() if hasattr(value, "collect") else value
        self.labels, self.count, self.sure = list(self.frame.columns), self.frame.height, False

    def labels_written(self, shape):
        return []

    def odd_csv(self, shape):
        return None

    def rows(self, kept):
        return True if self.count == kept.count else None

    def same(self, number, column, were):
        return same_values(self.frame.to_series(number).to_list(), were)

    def texts(self, number, shape):
        series = self.frame.to_series(number)
        if str(series.dtype) in ("String", "Float64") or series.dtype.is_integer():
            return [cell_text(value, shape.decimal) for value in series.to_list()]
        return reread(self.frame.select(series.name).write_csv(include_header=False))

    def parquet(self):
        buffer = io.BytesIO()
        self.frame.write_parquet(buffer)
        return buffer.getvalue()

    def records(self):
        return self.labels, [self.frame.to_series(number).to_list() for number in range(len(self.labels))]


class ArrowView:
    """What is written of a pyarrow table."""

    def __init__(self, value, read):
        import pyarrow
        self.frame = pyarrow.Table.from_batches([value]) if isinstance(value, pyarrow.RecordBatch) else value
        self.labels, self.count, self.sure = list(self.frame.column_names), self.frame.num_rows, False

    labels_written, odd_csv, rows = PolarsView.labels_written, PolarsView.odd_csv, PolarsView.rows

    def same(self, number, column, were):
        return same_values(self.frame.column(number).to_pylist(), were)

    def texts(self, number, shape):
        import pyarrow
        column = self.frame.column(number)
        kind = str(column.type)
        if kind in ("string", "large_string", "int64", "uint64", "int32", "double", "null"):
            return [cell_text(value, shape.decimal) for value in column.to_pylist()]
        import pyarrow.csv
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(pyarrow.table([column], names=["x"]), buffer,
                              pyarrow.csv.WriteOptions(include_header=False))
        return reread(buffer.getvalue().decode())

    def parquet(self):
        import pyarrow.parquet
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(self.frame, buffer)
        return buffer.getvalue()

    def records(self):
        return self.labels, [self.frame.column(number).to_pylist() for number in range(len(self.labels))]


# -- JSON

def write_json(view, kept, kind):
    """Records with all digits of their numbers; values that the script left alone are those of the document."""
    names, columns = view.records()
    records = kept.records if kept is not None else None
    rows = view.rows(kept) if records is not None else None
    absent = object()
    if rows is not None and names == view.labels:
        were = records if rows is True else [records[row] for row in rows]
        shared, whole, replaced = 0, [], {}
        for number, name in enumerate(names):
            if name not in kept.labels:
                continue
            shared += 1
            was = [record.get(name, absent) for record in were]
            same = same_json(columns[number], was, absent)
            replaced[number] = [old if one else new for old, new, one in zip(was, columns[number], same)]
            if all(same):
                whole.append(number)
        sure = view.sure or len(whole) == shared or distinct(
            [[json.dumps(value, default=repr) for value in columns[n]] for n in whole], view.count)
        if sure:
            if rows is True and len(whole) == shared == len(names) == len(kept.labels) and view.labels == kept.labels \
                    and b"NaN" not in kept.data and b"Infinity" not in kept.data:
                return kept.data
            for number, values in replaced.items():
                columns[number] = values
    out = []
    for row in zip(*columns):
        out.append({name: plain(value) for name, value in zip(names, row) if value is not absent})
    lines = [json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")) for record in out]
    if kind == "jsonl":
        return "".join(line + "\n" for line in lines).encode()
    return ("[" + ",\n".join(lines) + "]").encode()


def same_json(values, were, absent):
    same = []
    for now, was in zip(values, were):
        if was is absent or was is None or was != was:
            same.append(not isinstance(now, (list, dict)) and is_missing(now))
        elif isinstance(was, (list, dict)):
            same.append(type(now) is type(was) and now == was or plain(now) == was)
        elif isinstance(was, bool) != isinstance(now, bool):
            same.append(False)
        else:
            same.append(type(now) in (str, int, float, bool) and now == was)
    return same


def plain(value):
    """A value as JSON knows it: no NaN, dates as ISO 8601 has them."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if is_missing(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise hinted(ValueError("the table can't be written as JSON: a cell has bytes that are no text"),
                         "encode them, as base64 for example, before returning the table") from None
    return value.item() if hasattr(value, "item") else str(value)
