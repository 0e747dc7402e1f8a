"""Cells of tables: the text of a file and its shape, and what the cells of a column are: the part of
`opendmp_tables` that knows neither rows nor the libraries' tables as a whole. What is read how is in docs/FILES.md.
"""

import codecs
import csv
import io
import itertools
import re

from opendmp_worker import hinted

# Longer marks first: UTF-32 begins as UTF-16 does.
MARKS = ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
         (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# As pandas has them. The empty text is a missing value always.
MISSING = {"pandas": frozenset(("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
                                "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")),
           "polars": frozenset(("",)),
           "pyarrow": frozenset(("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
                                 "1.#QNAN", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"))}
TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
TRUE = [word for word, truth in TRUTH.items() if truth]

WHOLE_BYTES = 8 << 20     # read in one piece up to here
EXACT = 1 << 53           # integers up to here are exact as floats
LOOK_LINES = 25           # for the delimiter

# Each finds a line that is not of the sort: all cells of a column are looked at in one search.
NOT_INT = re.compile(r"(?m)^(?![ \t]*[+-]?[0-9]+[ \t]*$)")
NOT_FLOAT = re.compile(r"(?m)^(?![ \t]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
                       r"|(?i:inf(?:inity)?))[ \t]*$)")
NOT_COMMA = re.compile(r"(?m)^(?![ \t]*[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)?[ \t]*$)")
MAY_BE_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]|\.[0-9]|[iI])")
# Numbers as programs print them, in the words of all libraries' patterns; short ones, which floats hold.
COMMON_INT = r"^-?(?:0|[1-9][0-9]{0,17})$"
COMMON_FLOAT = r"^-?(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{1,7})?$"
LEADING_ZERO = re.compile(r"(?m)^[ \t]*[+-]?0[0-9]")
LONG_NUMBER = re.compile(r"[0-9.,]{16}")
# A comma that can't group thousands: not three digits behind it, or a zero or four digits before it.
DECIMAL_COMMA = re.compile(r"(?m),(?![0-9]{3}[ \t]*$)|^[ \t]*[+-]?0,|[0-9]{4},")
SEP_LINE = re.compile(r'"?sep=(.)"?[ \t]*\r?\n?', re.IGNORECASE)


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

    def look(self, texts, cells):
        """Take in some of the column's cells, which `texts` has made."""
        present = texts.present(cells, self.missing)
        self.gaps = self.gaps or len(present) < len(cells)
        if len(present) and "text" not in self.seen:
            self.seen.add(self.common(texts, present) or self.sort(texts.distinct(present)))

    def common(self, texts, present):
        """What cells are, if that shows at once; None if each has to be looked at."""
        few = texts.plain(present[:100])
        if few[0] in TRUTH:
            return None
        if not MAY_BE_NUMBER.match(few[0]) or (not self.comma_allowed and NOT_FLOAT.search("\n".join(few))):
            return "text"       # one such cell is enough
        if self.comma_sure:
            return None         # 1.234 may be a number in two ways
        whole = texts.whole_numbers(present)
        if whole is not None:
            self.low, self.high = min(self.low, whole[0]), max(self.high, whole[1])
            return "int"
        return "float" if texts.match(present, COMMON_FLOAT) else None

    def sort(self, present):
        """What cells are that are there. Equal ones count once."""
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


# ---------------------------------------------------------------- cells of a column, as the libraries hold them

class ListTexts:
    """Cells for pandas: lists of Python's texts, for which it needs no other library."""

    @staticmethod
    def cut(plain, delimiter, width):
        """Columns of lines that all have as many cells; None if they don't."""
        if set(map(str.count, plain.split("\n")[:-1], itertools.repeat(delimiter))) - {width - 1}:
            return None
        cells = plain.replace("\n", delimiter).split(delimiter)[:-1]
        return [cells[number::width] for number in range(width)]

    @staticmethod
    def of(texts):
        """Cells of a list of texts."""
        return texts

    plain = of          # and back

    @staticmethod
    def distinct(cells):
        """The different cells, where there are few; else all, for which telling them apart takes longer than a look."""
        few = cells[:1000]
        return list(dict.fromkeys(cells)) if len(set(few)) < len(few) * 0.95 else cells

    @staticmethod
    def joined(parts):
        """The cells of several pieces, one behind the other."""
        return parts[0] if len(parts) == 1 else list(itertools.chain.from_iterable(parts))

    @staticmethod
    def present(cells, missing):
        """Those that are none of the words for what is missing."""
        return cells if missing.isdisjoint(cells) else [cell for cell in cells if cell not in missing]

    @staticmethod
    def whole_numbers(cells):
        """The least and the greatest, if all are common whole numbers. Here the full look is as fast."""
        return None

    @staticmethod
    def match(cells, pattern):
        """Whether it is certain that all are like this."""
        return False

    @staticmethod
    def values(column, cells):
        """What a table of the library has for them. ValueError, KeyError or OverflowError where `dtype` is not so."""
        import pandas
        return pandas_column(pandas, column, column.values(cells))

    all = staticmethod(all)

    @staticmethod
    def count_distinct(cells):
        return len(set(cells))

    @staticmethod
    def mixed(same, cells, own):
        """The cells where they are the same, and else the own ones."""
        return [cell if one else new for cell, one, new in zip(cells, same, own)]

    @staticmethod
    def lines(columns, delimiter, start, stop):
        """Some rows, with the delimiter between their cells."""
        return map(delimiter.join, zip(*(column[start:stop] for column in columns)))


class PolarsTexts:
    """Cells for polars: series of strings."""

    @staticmethod
    def cut(plain, delimiter, width):
        import polars
        try:
            frame = polars.read_csv(plain.encode(), has_header=False, separator=delimiter, quote_char=None,
                                    infer_schema_length=0)
        except (polars.exceptions.PolarsError, UnicodeEncodeError):
            return None         # rows of different lengths, or nothing
        even = frame.shape == (plain.count("\n"), width) and plain.count(delimiter) == frame.height * (width - 1)
        return frame.fill_null("").get_columns() if even else None

    @staticmethod
    def of(texts):
        import polars
        return polars.Series("", texts, dtype=polars.String)

    @staticmethod
    def plain(cells):
        return cells.to_list()

    @staticmethod
    def joined(parts):
        import polars
        return polars.concat(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def present(cells, missing):
        gone = cells.is_in(list(missing)) if len(missing) > 1 else cells == ""
        return cells.filter(~gone) if gone.any() else cells

    @staticmethod
    def distinct(cells):
        return cells.unique(maintain_order=True).to_list()

    @staticmethod
    def match(cells, pattern):
        return PolarsTexts.matches(cells[:1000], pattern) and PolarsTexts.matches(cells, pattern)

    @staticmethod
    def matches(cells, pattern):
        return cells.str.contains(pattern).all()

    @staticmethod
    def whole_numbers(cells):
        import polars
        if not PolarsTexts.match(cells, COMMON_INT):
            return None
        numbers = cells.cast(polars.Int64)
        return numbers.min(), numbers.max()

    @staticmethod
    def values(column, cells):
        import polars
        kind, missing = column.kind, column.texts_missing if column.kind == "text" else column.missing
        made = {"int": polars.Int64, "uint": polars.UInt64, "float": polars.Float64, "comma": polars.Float64,
                "bool": polars.Boolean, "text": polars.String, "empty": polars.String}[kind]

        def exact():
            return polars.Series("", column.values(cells.to_list()), dtype=made)

        if kind == "empty" or column.said not in (None, "text"):
            return exact()
        present = cells
        if column.gaps and missing:
            gone = cells.is_in(list(missing))
            present = polars.select(polars.when(~gone).then(cells)).to_series() if gone.any() else cells
        if kind == "text":
            return present
        if kind == "bool":
            return present.is_in(TRUE)
        if kind == "comma":
            present = present.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        numbers = present.cast(made, strict=False)
        return numbers if numbers.null_count() == present.null_count() else exact()

    @staticmethod
    def all(same):
        return same.all()

    @staticmethod
    def count_distinct(cells):
        return cells.n_unique()

    @staticmethod
    def mixed(same, cells, own):
        return cells.zip_with(same, own)

    @staticmethod
    def lines(columns, delimiter, start, stop):
        import polars
        parts = [column[start:stop].alias(str(number)) for number, column in enumerate(columns)]
        return polars.select(polars.concat_str(parts, separator=delimiter)).to_series().to_list()


class ArrowTexts:
    """Cells for pyarrow: arrays of strings."""

    @staticmethod
    def cut(plain, delimiter, width):
        import pyarrow
        import pyarrow.csv
        names = [str(number) for number in range(width)]
        try:
            data = plain.encode()
            table = pyarrow.csv.read_csv(
                pyarrow.BufferReader(data),
                # In one block: no line may be longer than one.
                pyarrow.csv.ReadOptions(column_names=names, block_size=min(len(data) + 1, (1 << 31) - 1)),
                pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()),
                                           strings_can_be_null=False))
        except (pyarrow.ArrowInvalid, UnicodeEncodeError):
            return None         # rows of different lengths, or nothing
        return table.columns if table.num_rows == plain.count("\n") else None

    @staticmethod
    def of(texts):
        import pyarrow
        return pyarrow.chunked_array([pyarrow.array(texts, pyarrow.string())])

    @staticmethod
    def plain(cells):
        return cells.to_pylist()

    @staticmethod
    def joined(parts):
        import pyarrow
        return pyarrow.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)

    @staticmethod
    def is_in(cells, words):
        import pyarrow
        import pyarrow.compute as compute
        return compute.is_in(cells, pyarrow.array(list(words), pyarrow.string()))

    @staticmethod
    def present(cells, missing):
        import pyarrow.compute as compute
        gone = ArrowTexts.is_in(cells, missing)
        return cells.filter(compute.invert(gone)) if compute.any(gone).as_py() else cells

    @staticmethod
    def distinct(cells):
        return cells.unique().to_pylist()

    @staticmethod
    def match(cells, pattern):
        return ArrowTexts.matches(cells[:1000], pattern) and ArrowTexts.matches(cells, pattern)

    @staticmethod
    def matches(cells, pattern):
        import pyarrow.compute as compute
        return compute.all(compute.match_substring_regex(cells, pattern)).as_py()

    @staticmethod
    def whole_numbers(cells):
        import pyarrow.compute as compute
        if not ArrowTexts.match(cells, COMMON_INT):
            return None
        ends = compute.min_max(cells.cast("int64")).as_py()
        return ends["min"], ends["max"]

    @staticmethod
    def values(column, cells):
        import pyarrow
        import pyarrow.compute as compute
        kind, missing = column.kind, column.texts_missing if column.kind == "text" else column.missing
        made = {"int": pyarrow.int64(), "uint": pyarrow.uint64(), "float": pyarrow.float64(),
                "comma": pyarrow.float64(), "bool": pyarrow.bool_(), "text": pyarrow.string(),
                "empty": pyarrow.null()}[kind]

        def exact():
            return pyarrow.chunked_array([pyarrow.array(column.values(cells.to_pylist()), type=made)])

        if kind == "empty" or column.said not in (None, "text"):
            return exact()
        present = cells
        if column.gaps and missing:
            gone = pyarrow.scalar(None, pyarrow.string())
            present = compute.if_else(ArrowTexts.is_in(cells, missing), gone, cells)
        if kind == "text":
            return present
        if kind == "bool":
            return compute.if_else(present.is_valid(), ArrowTexts.is_in(present, TRUE), pyarrow.scalar(None, made))
        if kind == "comma":
            present = compute.replace_substring(compute.replace_substring(present, ".", ""), ",", ".")
        try:
            return present.cast(made)
        except pyarrow.ArrowInvalid:        # blanks around a number, or a plus
            return exact()

    @staticmethod
    def all(same):
        import pyarrow.compute as compute
        return compute.all(same, min_count=0).as_py()

    @staticmethod
    def count_distinct(cells):
        import pyarrow.compute as compute
        return compute.count_distinct(cells).as_py()

    @staticmethod
    def mixed(same, cells, own):
        import pyarrow.compute as compute
        return compute.if_else(same, cells, own)

    @staticmethod
    def lines(columns, delimiter, start, stop):
        import pyarrow.compute as compute
        return compute.binary_join_element_wise(*(column[start:stop] for column in columns), delimiter).to_pylist()


TEXTS = {"pandas": ListTexts, "polars": PolarsTexts, "pyarrow": ArrowTexts}


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
