"""Tables for scripts: content as a pandas, polars or pyarrow table, and what they give back as content.

Cells are read as texts, and what they are is found out here and not by the libraries, so that all three read a file
alike, nothing of it is lost without a word (`007`, a first column, digits), and what a script leaves alone can be
written as it stood in the file. The libraries do on whole columns of texts what they do faster: cut lines without
quotes, make numbers of common texts, compare, join. What is read how is in docs/FILES.md. Not here: what a script's
function takes, and how results travel; that is the worker's.

Imported by the worker when a script first takes or gives a table. Libraries are imported by the script, or when it asks
for a table of one. CPython 3.9 or newer, nothing but the standard library and the library that is asked for.
"""

import contextlib
import csv
import gc
import io
import itertools
import json
import re

from opendmp_cells import EXACT, MARKS, TEXTS, TRUTH, ArrowTexts, Column, Lines, ListTexts, PolarsTexts, Shape, not_text
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
# Endings of files that are no text and that not every Python knows the media type of.
OTHER_NAMES = {"xlsx", "xls", "xlsm", "xlsb", "ods", "numbers", "docx", "doc", "odt", "pptx", "gz", "bz2", "xz", "zst",
               "zip", "7z", "tar", "tgz", "feather", "arrow", "orc", "avro", "h5", "hdf5", "nc", "npy", "npz", "pkl",
               "pickle", "sav", "dta", "sas7bdat", "rds", "rdata", "db", "sqlite", "sqlite3", "mdb", "accdb", "shp", "gpkg"}
# What is no text, by its first bytes.
FOREIGN = ((b"PK\x03\x04", "a workbook or another zip file"), (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
           (b"\x1f\x8b", "compressed by gzip"), (b"%PDF", "a PDF"), (b"SQLite format 3\0", "an SQLite database"))
TYPES = {"str": "text", "int": "int", "float": "float", "bool": "bool"}

KEEP_BYTES = 64 << 20     # of a larger item the cells' own text is not kept: it takes many times the room of numbers
PIECE = 4 << 20           # characters that are cut into cells together
CHUNK_CELLS = 500_000     # cells that Python's own reader makes, together
WRITE_ROWS = 100_000      # rows that are put together as text


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


# ---------------------------------------------------------------- rows

class Kept:
    """An item as it was read: how its rows are written, and where cells that a script left alone find their text."""

    __slots__ = ("format", "library", "lines", "shape", "columns", "header", "labels", "count", "cells", "index",
                 "records", "data", "texts", "table")

    def __init__(self, kind, library):
        self.format, self.library, self.texts = kind, library, TEXTS[library]
        self.lines = self.shape = self.columns = self.cells = self.index = self.records = self.data = None
        self.table = None
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
            column.look(kept.texts, cells)
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
    delimiter = kept.shape.delimiter
    with lines.open() as text:
        first = first_row(kept, text, strict)
        if first is None:
            return
        width, empty = len(first), True
        if kept.shape.header:
            kept.header = first
        else:
            text.close()
            text = lines.open()
            for _ in kept.shape.before:
                text.readline()
        with text:
            left = ""
            while True:
                piece = left or text.read(PIECE) + text.readline()
                if not piece:
                    break
                plain, left = without_quotes(piece, delimiter), ""
                columns = kept.texts.cut(plain, delimiter, width) if plain is not None else None
                if columns is None:
                    with paused_collection():
                        rows, left = rows_of(piece, text, delimiter, strict, max(1, CHUNK_CELLS // width))
                        columns = columns_of(rows, width)
                        del rows
                    if columns is None:
                        raise too_long(kept, lines, strict, width)
                    columns = [kept.texts.of(cells) for cells in columns]
                if columns and len(columns[0]):
                    empty = False
                    yield columns
        if empty and kept.columns is None:
            yield [kept.texts.of([])] * width


def first_row(kept, text, strict):
    """The first row behind the lines that are not of the table; None if there is none. Blank lines are no rows."""
    for _ in kept.shape.before:
        text.readline()
    return next((row for row in csv.reader(text, delimiter=kept.shape.delimiter, strict=strict) if row), None)


def without_quotes(piece, delimiter):
    """Lines whose cells end at each delimiter, without blank lines, all ended by a line feed; None for other lines."""
    if '"' in piece or "\0" in piece or not delimiter.isascii() or delimiter in '"\r\n':
        return None
    if "\r" in piece:
        piece = piece.replace("\r\n", "\n").replace("\r", "\n")
    if piece.startswith("\n") or "\n\n" in piece:
        piece = re.sub("\n\n+", "\n", piece).lstrip("\n")
    return piece if piece.endswith("\n") or not piece else piece + "\n"


def rows_of(piece, text, delimiter, strict, room):
    """Up to so many rows, and what is left of the piece. A cell that is not closed in it goes on in the text."""
    begun = io.StringIO(piece, newline="")
    reader = csv.reader(itertools.chain(begun, text), delimiter=delimiter, strict=strict)
    return list(itertools.islice(reader, room)), begun.read()


def columns_of(rows, width):
    """Rows as columns; None if a row is too long."""
    lengths = set(map(len, rows))
    if lengths and max(lengths) > width:
        return None
    if lengths != {width}:
        rows = [row if len(row) == width else row + [""] * (width - len(row)) for row in rows if row]
    return list(zip(*rows))


@contextlib.contextmanager
def paused_collection():
    """While rows are made that are all needed, Python need not look for unused ones: that takes most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    free_earlier(item.size)
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


def free_earlier(size, read=[0]):
    """Have what was kept of earlier items freed. Items refer to themselves, so a collection is needed, and reading makes
    too few objects to bring one about."""
    read[0] += size
    if read[0] > KEEP_BYTES // 4:
        read[0] = 0
        gc.collect()


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
    parts = [[] for _ in kept.columns]
    for piece in pieces:
        for part, column, cells, label in zip(parts, kept.columns, piece, kept.labels):
            try:
                part.append(kept.texts.values(column, cells))
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
        if kept.cells is not None:
            kept.table = table.copy()       # the script may change its own in place
        return kept, table
    if library == "polars":
        columns = [module.concat(part) if len(part) > 1 else part[0] for part in parts]
        table = module.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
        table.columns = list(kept.labels)       # given above, an empty one would become another
        return kept, table
    columns = [kept.texts.joined(part) for part in parts]
    return kept, module.Table.from_arrays(columns, names=list(kept.labels))


def check_foreign(item):
    with item.open() as file:
        head = file.read(16)
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise hinted(ValueError(f"the item can't be read as a csv table: it is {what}"),
                         "take it as a pathlib.Path, and open it with what reads such files")


def join_pandas(pandas, parts):
    if isinstance(parts[0], list):
        # Each made compact for itself: as Python's own texts they take much more room.
        kind = pandas.Series(["x"]).dtype
        return pandas.concat([pandas.Series(part, dtype=kind) for part in parts], ignore_index=True)
    import numpy
    return numpy.concatenate(parts) if isinstance(parts[0], numpy.ndarray) else pandas.concat(
        [pandas.Series(part) for part in parts], ignore_index=True)


# -- JSON

def read_json(library, item, kind):
    """A JSON document or JSON lines as a table. Texts stay texts, and numbers keep all their digits."""
    kept = Kept(kind, library)
    data = item.bytes()
    records = parse_json(data, kind)
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
        if found is not None and number in found.texts:
            texts, same = found.texts[number]
            if not view.cells.all(same):
                own = in_style(view.cells, view.texts(number, shape), found.kept_of(number))
                texts = view.cells.mixed(same, texts, own)
        else:
            texts = view.texts(number, shape)
        columns.append(texts)
        header.append(found.header(number) if found is not None else str(label))
    if not columns:
        return b""
    out = io.StringIO(newline="")
    out.writelines(shape.before)
    writer = csv.writer(out, delimiter=shape.delimiter, lineterminator=shape.newline)
    if shape.header:
        writer.writerow(header)
    for start in range(0, view.count, WRITE_ROWS):
        text = simple_rows(view.cells, columns, shape, start)
        if text is None:
            writer.writerows(zip(*(view.cells.plain(column[start:start + WRITE_ROWS]) for column in columns)))
        else:
            out.write(text)
    return encoded(out.getvalue(), shape)


def simple_rows(cells, columns, shape, start):
    """Some rows as text; None if a cell needs quotes: then the text has more of such characters than are put in."""
    lines = list(cells.lines(columns, shape.delimiter, start, start + WRITE_ROWS))
    text = shape.newline.join(lines) + shape.newline
    simple = (len(columns) > 1 and '"' not in text and shape.delimiter not in '"\r\n'
              and text.count(shape.delimiter) == len(lines) * (len(columns) - 1)
              and all(text.count(end) == (len(lines) if end in shape.newline else 0) for end in "\r\n"))
    return text if simple else None


def encoded(text, shape):
    try:
        return shape.mark + text.encode(shape.codec)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise hinted(ValueError(f"the table can't be written as {shape.codec}, in which it was read: it has the "
                                f"character {character!r}"),
                     "return item.with_(table.to_csv().encode()) to write it as UTF-8") from None


def in_style(cells, texts, column):
    """Truth values that are new in a column, as the others stand there."""
    if column is None or column[0].kind != "bool":
        return texts
    case = next((cell for cell in cells.plain(column[1]) if cell in TRUTH), "True")
    change = str.lower if case.islower() else str.upper if case.isupper() else str
    return cells.of([change(text) if text in TRUTH else text for text in cells.plain(texts)])


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
        text = view.cells.joined([piece[at] for piece in cells])
        if rows is not True:
            text = list(map(text.__getitem__, rows))
        same = view.same(number, kept, at, rows, text)
        unchanged = view.cells.all(same)
        if by_place and not unchanged:
            continue
        shared += not by_place
        if unchanged:
            whole.append(number)
        found.texts[number], found.of[number] = (text, same), at
    if rows is not True or not view.sure:
        # The labels of rows alone may be new ones, so at least something has to tell the rows apart and be unchanged.
        everything = len([n for n in whole if n in found.of]) == len(found.of) and shared
        if not everything and not told_apart(view.cells, [found.texts[n][0] for n in whole], view.count):
            return None
    found.untouched = (rows is True and len(whole) == len(view.labels) == len(kept.labels)
                       and [found.of[n] for n in whole] == list(range(len(kept.labels)))
                       and list(view.labels) == list(kept.labels))
    return found


def told_apart(cells, columns, count):
    """Whether no two rows are the same. Mostly one column shows it alone."""
    return any(cells.count_distinct(column) == count for column in columns) \
        or distinct([cells.plain(column) for column in columns], count)


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


def float_texts(values, decimal):
    """Floats of Python as CSV has them; None and NaN are empty."""
    texts = ["" if value is None or value != value else repr(value) for value in values]
    return texts if decimal == "." else [text.replace(".", decimal) for text in texts]


class PandasView:
    """What is written of a pandas table."""

    cells = ListTexts

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

    def same(self, number, kept, at, rows, cells):
        """For each row whether it has the value that its cell in the file has, which is in column `at` there."""
        series, column = self.series(number), kept.columns[at]
        dtype, sort, kind = series.dtype, getattr(series.dtype, "kind", "O"), column.kind
        if kind == "empty":
            return series.isna().tolist()
        if kind in ("int", "uint", "float", "comma"):
            return self.same_numbers(series, kept, at, rows) if sort in "iuf" else [False] * len(cells)
        if kind == "text" and sort != "O" and str(dtype) != "category" or kind == "bool" and sort not in "bO":
            return [False] * len(cells)
        if str(dtype) == "str" and kept.table.dtypes.iloc[at] == dtype:
            import numpy
            was = self.was(kept, at, rows)
            equal = numpy.asarray(series.array == was.array, dtype=bool)
            return (equal | (series.isna().to_numpy() & was.isna().to_numpy())).tolist()
        return same_values(series.astype(object).tolist(), column.values(cells))

    @staticmethod
    def was(kept, at, rows):
        column = kept.table.iloc[:, at]
        return column if rows is True else column.take(rows)

    def same_numbers(self, series, kept, at, rows):
        import numpy
        was, column = self.was(kept, at, rows), kept.columns[at]
        if series.dtype.kind in "iu" and column.kind in ("int", "uint") and not column.gaps:
            return (series.to_numpy() == was.to_numpy()).tolist()
        now = series.to_numpy(dtype="float64", na_value=numpy.nan)
        was = was.to_numpy(dtype="float64", na_value=numpy.nan)
        return ((now == was) | ((now != now) & (was != was))).tolist()

    def texts(self, number, shape):
        return self.texts_of(self.series(number), shape)

    def texts_of(self, series, shape):
        dtype, decimal = series.dtype, shape.decimal
        name = str(dtype)
        if name in ("int64", "int32", "uint64", "bool", "int16", "int8", "uint8"):
            return list(map(str, series.tolist()))
        if name == "float64":
            return float_texts(series.tolist(), decimal)
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

    cells = PolarsTexts

    def __init__(self, value, read):
        self.frame = value.collect() if hasattr(value, "collect") else value
        self.labels, self.count, self.sure = list(self.frame.columns), self.frame.height, False

    def labels_written(self, shape):
        return []

    def odd_csv(self, shape):
        return None

    def rows(self, kept):
        return True if self.count == kept.count else None

    def same(self, number, kept, at, rows, cells):
        import polars
        now, was = self.frame.to_series(number), self.cells.values(kept.columns[at], cells)
        if now.dtype != was.dtype:
            return polars.Series("", same_values(now.to_list(), was.to_list()), dtype=polars.Boolean)
        missing = now.is_null()
        if now.dtype.is_float():
            # To polars NaN is the same as NaN; to Python it is not.
            missing, equal = missing | now.is_nan().fill_null(False), (now == was) & ~now.is_nan()
        else:
            equal = now == was
        return equal.fill_null(False) | (missing & was.is_null())

    def texts(self, number, shape):
        import polars
        series = self.frame.to_series(number)
        if series.dtype == polars.String or series.dtype.is_integer():
            return series.cast(polars.String).fill_null("")
        if series.dtype == polars.Float64:
            return self.cells.of(float_texts(series.to_list(), shape.decimal))
        return self.cells.of(reread(self.frame.select(series.name).write_csv(include_header=False)))

    def parquet(self):
        buffer = io.BytesIO()
        self.frame.write_parquet(buffer)
        return buffer.getvalue()

    def records(self):
        return self.labels, [self.frame.to_series(number).to_list() for number in range(len(self.labels))]


class ArrowView:
    """What is written of a pyarrow table."""

    cells = ArrowTexts

    def __init__(self, value, read):
        import pyarrow
        self.frame = pyarrow.Table.from_batches([value]) if isinstance(value, pyarrow.RecordBatch) else value
        self.labels, self.count, self.sure = list(self.frame.column_names), self.frame.num_rows, False

    labels_written, odd_csv, rows = PolarsView.labels_written, PolarsView.odd_csv, PolarsView.rows

    def same(self, number, kept, at, rows, cells):
        import pyarrow
        import pyarrow.compute as compute
        now, was = self.frame.column(number), self.cells.values(kept.columns[at], cells)
        if now.type != was.type or pyarrow.types.is_null(now.type):
            same = same_values(now.to_pylist(), was.to_pylist())
            return pyarrow.chunked_array([pyarrow.array(same, pyarrow.bool_())])
        missing = compute.is_null(now, nan_is_null=True)
        return compute.or_(compute.fill_null(compute.equal(now, was), False),
                           compute.and_(missing, compute.is_null(was)))

    def texts(self, number, shape):
        import pyarrow
        import pyarrow.compute as compute
        column = self.frame.column(number)
        kind = str(column.type)
        if kind in ("string", "large_string", "int64", "uint64", "int32"):
            return compute.fill_null(column.cast(pyarrow.string()), "")
        if kind in ("double", "null"):
            return self.cells.of(float_texts(column.to_pylist(), shape.decimal))
        import pyarrow.csv
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(pyarrow.table([column], names=["x"]), buffer,
                              pyarrow.csv.WriteOptions(include_header=False))
        return self.cells.of(reread(buffer.getvalue().decode()))

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
