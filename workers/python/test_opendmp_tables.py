"""What docs/FILES.md says of tables, tried on the worker's own functions. Run by the tests of crates/script, in an
environment with pandas, polars and pyarrow: `python workers/python/test_opendmp_tables.py`.
"""

import importlib.util
import os
import pathlib
import random
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import opendmp_worker as worker

LIBRARIES = ("pandas", "polars", "pyarrow")


class Stand:
    """As much of a worker as conversions need."""

    def __init__(self, settings):
        self.script = types.SimpleNamespace(table=settings, outputs=[])

    content_of = worker.Worker.content_of


def item_of(name, data, media=None, settings=None):
    data = data.encode() if isinstance(data, str) else data
    item = worker.Item(Stand(settings or {}), name, media, None, len(data), b"")
    item._data = data
    return item


def read(name, data, library="pandas", media=None, settings=None):
    item = item_of(name, data, media, settings)
    return worker.tables().read(library, item, settings or {}), item


def step(data, change=lambda table: table, name="t.csv", library="pandas", media=None, settings=None, **result):
    """One step of a flow: the result's content as text (or bytes where it is none), name and media type."""
    table, item = read(name, data, library, media, settings)
    if "result_name" in result:
        result["name"] = result.pop("result_name")
    made = item.with_(change(table), **result)
    try:
        return made._data.decode(), made.name, made.media_type
    except UnicodeDecodeError:
        return made._data, made.name, made.media_type


def content(*arguments, **more):
    return step(*arguments, **more)[0]


class Case(unittest.TestCase):
    def refused(self, words, hint, *arguments, **more):
        for library in LIBRARIES:
            with self.assertRaises(Exception) as caught:
                step(*arguments, library=library, **more)
            self.assertIn(words, str(caught.exception), library)
            self.assertIn(hint, caught.exception.opendmp_hint, library)

    def unchanged(self, data, name="t.csv", media=None, settings=None):
        for library in LIBRARIES:
            item = item_of(name, data, media, settings)
            table = worker.tables().read(library, item, settings or {})
            self.assertEqual(item.with_(table)._data, item.bytes(), library)


class Rows(Case):
    def test_rows_longer_than_the_header_are_refused(self):
        for data, hint in (
            ("id,name\n1,Ann,\n2,Bob,\n", "the row ends with a delimiter"),
            ("x,y\nrow1,1,2\nrow2,3,4\n", "give each column a name"),
            ("temp\n1,5\n2,5\n", "is that the header?"),
            ("a;b\n1;2\n1;2;3\n", "give each column a name"),
            ("Report of May\n\nid,n\n1,2\n", "is that the header?"),
        ):
            self.refused(" cells, the header has ", hint, data)
        self.refused("line 3 has 3 cells, the header has 2", "quote cells", "a,b\n1,2\n1,2,3\n")

    def test_a_shorter_row_has_gaps_at_its_end(self):
        self.unchanged("a,b,c\n1,2\n3,4,5\n")
        self.assertEqual(content("a,b,c\n1,2\n3,4,5\n", lambda t: t.assign(d=1)), "a,b,c,d\n1,2,,1\n3,4,5,1\n")

    def test_a_quote_that_is_not_closed_is_refused(self):
        self.refused("a quote that is opened is not closed", "a cell with a quote", 'a,b\n1,"x\n2,y\n')

    def test_quoted_cells_hold_anything(self):
        data = 'a,b\n"1,5","two\nlines"\n"say ""no""",x\n'
        self.unchanged(data)
        table, _ = read("t.csv", data)
        self.assertEqual(table.iloc[0].tolist(), ["1,5", "two\nlines"])

    def test_a_cell_may_be_long(self):
        self.unchanged("a,b\n1," + "x" * 200_000 + "\n2,y\n")

    def test_columns_without_a_name_or_with_that_of_another_keep_it(self):
        self.unchanged("a,a,\n1,2,3\n")
        self.assertEqual(content("a,a,\n1,2,3\n", lambda t: t.assign(z=1)), "a,a,,z\n1,2,3,1\n")
        self.assertEqual(list(read("t.csv", "a,a,\n1,2,3\n")[0].columns), ["a", "a.1", "Unnamed: 2"])


class Delimiters(Case):
    def test_the_delimiter_is_found_out_and_kept(self):
        for delimiter in ",;\t|":
            data = "id;n;t\n1;2;x\n3;4;y\n".replace(";", delimiter)
            self.unchanged(data)
            self.assertEqual(content(data, lambda t: t.assign(n=t.n * 2)),
                             "id;n;t\n1;4;x\n3;8;y\n".replace(";", delimiter))
            for library in LIBRARIES:
                self.assertEqual(read("t.csv", data, library)[0].shape, (2, 3), library)

    def test_commas_in_texts_and_numbers_are_no_delimiters(self):
        for data in ("id;temp;note\na;1,5;x\nb;2,5;y\n", "name;x\na;1,5\nb;2,5\n", "Name, first;n\nMay, Ann;5\n",
                     "p, hPa;t\n1,5;2\n2,5;3\n"):
            table, _ = read("t.csv", data)
            self.assertEqual(table.shape[1], data.split("\n")[0].count(";") + 1, data)
        self.assertEqual(read("t.csv", 'a,b\n1,"x; y"\n2,z\n')[0].shape, (2, 2))

    def test_a_sep_line_is_no_header(self):
        data = "sep=;\nid;amount\n1;1.234,50\n2;7,00\n"
        self.unchanged(data)
        self.assertEqual(content(data, lambda t: t[t.amount > 100]), "sep=;\nid;amount\n1;1.234,50\n")
        for data in ("sep=|\r\na|b\r\n1|2\r\n", '"sep=,"\na,b\n1,2\n', "SEP=\t\na\tb\n1\t2\n"):
            self.unchanged(data)
            self.assertEqual(list(read("t.csv", data)[0].columns), ["a", "b"])

    def test_decimal_commas_are_numbers_and_are_written_so(self):
        data = "id;temp\na;1,50\nb;2,5\n"
        for library in LIBRARIES:
            table, _ = read("t.csv", data, library)
            self.assertEqual(list(table["temp"].to_pylist() if library == "pyarrow" else table["temp"]), [1.5, 2.5])
        self.assertEqual(content(data, lambda t: t.assign(twice=t.temp * 2)), "id;temp;twice\na;1,50;3,0\nb;2,5;5,0\n")
        self.assertEqual(content(data, lambda t: t.with_columns(twice=t["temp"] * 2), library="polars"),
                         "id;temp;twice\na;1,50;3,0\nb;2,5;5,0\n")

    def test_thousands_are_not_taken_for_decimals(self):
        # 1,234 behind a tab is 1234 in English and 1.234 elsewhere: text, as pandas has it.
        self.assertEqual(read("t.tsv", "a\tb\n1,234\t2\n")[0]["a"].tolist(), ["1,234"])
        # 1.234 beside decimal commas as well.
        self.assertEqual(read("t.csv", "a;b\n1.234;2,5\n")[0]["a"].tolist(), ["1.234"])

    def test_line_ends_are_kept(self):
        for end in ("\n", "\r\n", "\r"):
            self.assertEqual(content(f"a,b{end}1,2{end}", lambda t: t * 2), f"a,b{end}2,4{end}")


class Encodings(Case):
    def test_a_byte_order_mark_says_the_encoding_and_is_kept(self):
        text = "id,name\r\n1,Zoë\r\n2,Ann\r\n"
        for codec in ("utf-8-sig", "utf-16", "utf-32"):
            self.unchanged(text.encode(codec))
        for mark, codec in ((b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")):
            data = mark + text.encode(codec)
            self.unchanged(data)
            table, item = read("t.csv", data)
            self.assertEqual(table["name"].tolist(), ["Zoë", "Ann"])
            self.assertEqual(item.with_(table[table.id > 1])._data, mark + "id,name\r\n2,Ann\r\n".encode(codec))

    def test_another_encoding_is_asked_for(self):
        data = "id,name\n1,Zoë\n".encode("cp1252")
        self.refused("it is not utf-8 text (byte 0xeb)", "`table: { encoding: windows-1252 }`", data)
        table, item = read("t.csv", data, settings={"encoding": "cp1252"})
        self.assertEqual(item.with_(table.assign(n="ü"))._data, "id,name,n\n1,Zoë,ü\n".encode("cp1252"))
        with self.assertRaisesRegex(ValueError, "can't be written as cp1252"):
            item.with_(table.assign(n="λ"))
        self.assertEqual(read("t.csv", data, media="text/csv; charset=windows-1252")[0]["name"].tolist(), ["Zoë"])
        self.refused("NUL bytes", "encoding: utf-16-le", "a,b\n1,2\n".encode("utf-16-le"))


class Values(Case):
    def test_leading_zeros_are_text(self):
        for cell in ("007", "01234", "00.5", "-01"):
            for library in LIBRARIES:
                table, _ = read("t.csv", f"plz,n\n{cell},1\n99999,2\n", library)
                column = table["plz"].to_pylist() if library == "pyarrow" else list(table["plz"])
                self.assertEqual(column, [cell, "99999"], library)
        self.assertEqual(read("t.csv", "a\n0\n0.5\n-0.25\n")[0]["a"].tolist(), [0, 0.5, -0.25])

    def test_more_digits_than_a_number_holds_are_text(self):
        for cells in (("12345678901234567890123", "1"), ("9007199254740993", ""), ("0.12345678901234567891", "1"),
                      ("12345678901234567.5", "1"), ("9" * 5000, "1")):
            for library in LIBRARIES:
                if cells[1] == "" and library != "pandas":
                    continue        # they have integers with gaps
                table, _ = read("t.csv", "n,x\n" + "".join(cell + ",a\n" for cell in cells), library)
                first = table["n"][0].as_py() if library == "pyarrow" else table["n"][0]
                self.assertEqual(first, cells[0], library)
        self.assertEqual(read("t.csv", "n\n9007199254740993\n")[0]["n"].tolist(), [9007199254740993])
        self.assertEqual(str(read("t.csv", "n\n18446744073709551615\n")[0]["n"].dtype), "uint64")
        # What a program printed of a float with all its digits is that float.
        self.assertEqual(read("t.csv", "n\n0.33333333333333331483\n1.50000000000000000000\n")[0]["n"].tolist(),
                         [1 / 3, 1.5])

    def test_cells_that_pass_through_keep_their_text(self):
        data = "plz,country,n,flag,t\n01234,NA,1,true,12.50\n99999,DE,,false,1e5\n"
        self.unchanged(data)
        table, _ = read("t.csv", data)
        self.assertEqual([table["n"][0], table["t"].tolist(), table["flag"].tolist(), table["country"].isna().tolist()],
                         [1.0, [12.5, 100000.0], [True, False], [True, False]])

    def test_what_is_missing_is_the_librarys_own_choice(self):
        for library, text, number in (("pandas", None, None), ("polars", "NA", "NA"), ("pyarrow", "NA", None)):
            table, _ = read("t.csv", "a,b\nNA,NA\nx,1\n", library)
            found = [table[name][0].as_py() if library == "pyarrow" else table[name][0] for name in ("a", "b")]
            self.assertEqual([None if value != value else value for value in found], [text, number], library)

    DATA = "id,temp,note\n007,12.50,NA\n008,1e5,\n009,3.10,b\n"

    def test_unchanged_cells_keep_their_text_beside_changed_ones(self):
        def first(table):
            table.loc[0, "temp"] = 99
            return table
        for change, wanted in (
            (lambda t: t[t.temp < 100], "id,temp,note\n007,12.50,NA\n009,3.10,b\n"),
            (lambda t: t.assign(x=t.temp > 100), "id,temp,note,x\n007,12.50,NA,False\n008,1e5,,True\n009,3.10,b,False\n"),
            (lambda t: t.rename(columns={"temp": "t"}), "id,t,note\n007,12.50,NA\n008,1e5,\n009,3.10,b\n"),
            (lambda t: t.sort_values("temp"), "id,temp,note\n009,3.10,b\n007,12.50,NA\n008,1e5,\n"),
            (lambda t: t.drop(columns="id"), "temp,note\n12.50,NA\n1e5,\n3.10,b\n"),
            (lambda t: t.drop(1)[["note", "id"]], "note,id\nNA,007\nb,009\n"),
            (lambda t: t.copy(), self.DATA),
            (first, "id,temp,note\n007,99.0,NA\n008,1e5,\n009,3.10,b\n"),
        ):
            self.assertEqual(content(self.DATA, change), wanted)
        self.assertEqual(content("b,c\ntrue,x\nfalse,y\n", lambda t: t.assign(b=~t.b)), "b,c\nfalse,x\ntrue,y\n")

    def test_where_rows_may_be_others_the_library_writes(self):
        plain = "id,temp,note\n009,3.1,b\n007,12.5,\n008,100000.0,\n"
        self.assertEqual(content(self.DATA, lambda t: t.sort_values("temp").reset_index(drop=True)), plain)
        import pandas
        more = pandas.DataFrame({"id": ["009", "007", "007"], "k": [1, 2, 3]})
        self.assertEqual(content(self.DATA, lambda t: more.merge(t, on="id")[["id", "temp"]]),
                         "id,temp\n009,3.1\n007,12.5\n007,12.5\n")
        self.assertEqual(content(self.DATA, lambda t: pandas.concat([t, t])).count("12.50"), 0)
        self.assertEqual(content("a,b\nNA,1\n,2\n", lambda t: t.iloc[::-1].reset_index(drop=True).assign(b=[1, 3])),
                         "a,b\nNA,1\n,3\n")

    def test_the_columns_of_polars_and_pyarrow_keep_their_text(self):
        import pyarrow
        for library, change in (
            ("polars", lambda t: t.with_columns(x=t["temp"] > 100)),
            ("pyarrow", lambda t: t.append_column("x", pyarrow.array([False, True, False]))),
        ):
            self.assertEqual(content(self.DATA, change, library=library).lower(),
                             "id,temp,note,x\n007,12.50,na,false\n008,1e5,,true\n009,3.10,b,false\n")

    def test_texts_that_look_like_times_stay_texts(self):
        for library in LIBRARIES:
            table, _ = read("t.csv", "day,at\n2024-05-06,2024-05-06T07:08:09Z\n", library)
            first = table["day"][0].as_py() if library == "pyarrow" else table["day"][0]
            self.assertEqual(first, "2024-05-06", library)


class Labels(Case):
    DATA = "station,t\nA,1.5\nA,2.5\nB,4\n"

    def test_row_labels_that_hold_data_are_written(self):
        described = content(self.DATA, lambda t: t.describe())
        self.assertTrue(described.startswith(",t\ncount,3.0\nmean,2.66"), described)
        self.assertEqual(content(self.DATA, lambda t: t.groupby("station").mean()), "station,t\nA,2.0\nB,4.0\n")
        self.assertEqual(content(self.DATA, lambda t: t.groupby("station").mean(), name="t.csv",
                                 media="text/csv"), "station,t\nA,2.0\nB,4.0\n")
        self.assertEqual(content(self.DATA, lambda t: t.groupby("station")["t"].agg(["min", "max"])),
                         "station,min,max\nA,1.5,2.5\nB,4.0,4.0\n")
        self.assertEqual(content(self.DATA, lambda t: t.set_index(["station", "t"]).assign(n=1)),
                         "station,t,n\nA,1.5,1\nA,2.5,1\nB,4.0,1\n")
        self.assertEqual(content(self.DATA, lambda t: t.set_axis([2020, 2021, 2022])),
                         ",station,t\n2020,A,1.5\n2021,A,2.5\n2022,B,4.0\n")

    def test_they_are_in_json_too(self):
        table, item = read("t.csv", self.DATA)
        made = item.with_(table.groupby("station").mean(), name="t.json")
        self.assertEqual((made._data.decode(), made.media_type),
                         ('[{"station":"A","t":2.0},\n{"station":"B","t":4.0}]', "application/json"))
        self.assertIn('{"index":"mean","t":2.66', item.with_(table.describe(), name="t.json")._data.decode())

    def test_numbers_of_rows_are_not(self):
        import pandas
        self.assertEqual(content(self.DATA, lambda t: t[t.t > 3].rename_axis("row")), "row,station,t\n2,B,4\n")
        for change in (lambda t: t[t.t > 2], lambda t: t.tail(1), lambda t: pandas.concat([t, t]),
                       lambda t: t.sort_values("t", ascending=False)):
            self.assertTrue(content(self.DATA, change).startswith("station,t\n"))


class Json(Case):
    DATA = ('[{"lat":52.123456789012345,"p":1.5e-12,"big":9007199254740993,"zip":"01234",'
            '"when":"2024-05-06T07:08:09.123456Z","modified":"1700000000"}]')

    def test_numbers_keep_all_digits_and_texts_are_no_dates(self):
        self.unchanged(self.DATA, "p.json")
        for library in LIBRARIES:
            table, _ = read("p.json", self.DATA, library)
            row = {name: table[name][0].as_py() if library == "pyarrow" else table[name][0] for name in
                   ("lat", "p", "big", "zip", "when", "modified")}
            self.assertEqual(row, {"lat": 52.123456789012345, "p": 1.5e-12, "big": 9007199254740993, "zip": "01234",
                                   "when": "2024-05-06T07:08:09.123456Z", "modified": "1700000000"}, library)
        self.assertEqual(content('[{"p":1.5e-12,"x":0.1234567890123456}]', lambda t: t * 2, name="p.json"),
                         '[{"p":3e-12,"x":0.2469135780246912}]')

    def test_what_is_unchanged_stays_as_it_was(self):
        data = '[{"id":1,"n":9007199254740993},{"id":2},{"id":3,"n":null}]'
        self.unchanged(data, "p.json")
        self.assertEqual(content(data, lambda t: t[t.id != 3].assign(x=1), name="p.json"),
                         '[{"id":1,"n":9007199254740993,"x":1},\n{"id":2,"x":1}]')
        self.assertEqual(content('{"a":1,"b":[1]}\n{"a":2,"b":{}}\n', lambda t: t[t.a > 1], name="p.jsonl"),
                         '{"a":2,"b":{}}\n')

    def test_times_and_gaps_are_written_as_json_has_them(self):
        import pandas
        def change(table):
            return table.assign(when=pandas.to_datetime(table.day), none=[float("nan"), 0.5])
        self.assertEqual(content("day,n\n2024-05-06,1\n2024-05-07,2\n", change, name="t.csv", result_name="t.json"),
                         '[{"day":"2024-05-06","n":1,"when":"2024-05-06T00:00:00","none":null},\n'
                         '{"day":"2024-05-07","n":2,"when":"2024-05-07T00:00:00","none":0.5}]')

    def test_json_lines_under_another_name_are_explained(self):
        self.refused("can't be read as a json table: Extra data", "name it .jsonl", '{"a":1}\n{"a":2}\n', name="p.json")
        self.refused("line 2:", "the format follows", '{"a":1}\n{"a":\n', name="p.jsonl")


class Formats(Case):
    def test_the_media_type_decides_before_the_name_and_the_content(self):
        for library in LIBRARIES:
            made = step('[{"n":1}]', library=library, media="application/json")
            self.assertEqual(made, ('[{"n":1}]', "t.json", "application/json"), library)
            made = step("n;m\n1;2\n", library=library, name="t.json", media="text/csv")
            self.assertEqual(made, ("n;m\n1;2\n", "t.csv", "text/csv"), library)
            for name, data in (("t", '[{"n":1}]'), ("t", '{"n":1}\n{"n":2}\n'), ("t.txt", "n,m\n1,2\n"),
                               ("t.dat", "n\tm\n1\t2\n")):
                self.assertEqual(step(data, library=library, name=name)[:2], (data, name), library)
            geo = step('[{"n":1}]', library=library, name="t.geojson", media="application/geo+json")
            self.assertEqual(geo[1:], ("t.geojson", "application/geo+json"))

    def test_a_result_has_the_format_of_its_new_name(self):
        for library in LIBRARIES:
            for name, wanted, media in (("x.json", '[{"a":1,"b":2.5}]', "application/json"),
                                        ("x.jsonl", '{"a":1,"b":2.5}\n', "application/x-ndjson"),
                                        ("x.tsv", "a\tb\n1\t2.5\n", "text/tab-separated-values")):
                table, item = read("t.csv", "a;b\n1;2,5\n", library)
                made = item.with_(table, name=name)
                self.assertEqual((made._data.decode(), made.name, made.media_type), (wanted, name, media), library)
            made = item.with_(table, name="x.parquet")
            self.assertTrue(made._data.startswith(b"PAR1"))

    def test_no_table_is_written_under_the_name_of_something_else(self):
        for library in LIBRARIES:
            table, item = read("t.csv", "a,b\n1,2\n", library)
            for name in ("x.xlsx", "x.png", "x.csv.gz", "x.html"):
                with self.assertRaisesRegex(ValueError, "can't be written under the name") as caught:
                    item.with_(table, name=name)
                self.assertIn('name=item.stem + ".csv"', caught.exception.opendmp_hint)
            with self.assertRaisesRegex(ValueError, "media type says json"):
                item.with_(table, name="x.csv", media_type="application/json")
            book = item_of("book.xlsx", b"PK\x03\x04")
            with self.assertRaisesRegex(ValueError, "can't be written under the name"):
                book.with_(table)
        self.refused("a workbook or another zip file", "pathlib.Path", b"PK\x03\x04 and more", name="book.xlsx")
        self.refused("compressed by gzip", "pathlib.Path", b"\x1f\x8b and more", name="t.csv")

    def test_an_empty_table_goes_through_any_number_of_steps(self):
        for library in LIBRARIES:
            for name, data in (("t.csv", ""), ("t.csv", "\n"), ("t.csv", "a,b\n"), ("t.json", ""), ("t.json", "[]"),
                               ("t.jsonl", ""), ("t.parquet", b""), ("t.csv", "\ufeff")):
                for _ in range(3):
                    table, item = read(name, data, library)
                    self.assertEqual(len(table), 0, (library, name, data))
                    data = item.with_(table)._data
        self.assertEqual(content("a,b\n1,2\n", lambda t: t[t.a > 5]), "a,b\n")


class Settings(Case):
    def test_each_setting_does_what_it_says(self):
        for settings, data, wanted in (
            ({"delimiter": ":"}, "a:b\n1:2\n", [1, 2]),
            ({"decimal": ","}, 'a,b\n"1,5",2\n', [1.5, 2]),
            ({"decimal": "."}, "a;b\n1,5;2\n", ["1,5", 2]),
            ({"na_values": ["-"]}, "a,b\nNA,-\n", ["NA", None]),
            ({"dtype": {"a": "str", "b": "float"}}, "a,b\n1,2\n", ["1", 2.0]),
            ({"dtype": {"a": "int"}}, "a,b\n007,2\n", [7, 2]),
            ({"header": False}, "5,x\n", [5, "x"]),
            ({"skip_rows": 2}, "Report\n\na,b\n1,2\n", [1, 2]),
            ({"encoding": "latin-1"}, "a,b\né,2\n".encode("latin-1"), ["é", 2]),
        ):
            for library in LIBRARIES:
                table, item = read("t.csv", data, library, settings=settings)
                columns = table.columns if library != "pandas" else [table[c] for c in table.columns]
                row = [column[0].as_py() if library == "pyarrow" else column[0] for column in
                       (table.get_columns() if library == "polars" else columns)]
                row = [None if value != value else value for value in row]
                self.assertEqual(row, wanted, (library, settings))
                self.assertEqual(item.with_(table)._data, item.bytes(), (library, settings))
        self.assertEqual(content("Report\n\na,b\n1,2\n", lambda t: t * 2, settings={"skip_rows": 2}),
                         "Report\n\na,b\n2,4\n")
        self.assertEqual(content("1;2\n", lambda t: t * 2, settings={"header": False}), "2;4\n")

    def test_a_table_that_the_script_made_is_written_by_them(self):
        import pandas
        item = item_of("t.csv", "x", settings={"delimiter": ";", "decimal": ",", "encoding": "cp1252"})
        made = item.with_(pandas.DataFrame({"ü": [1.5], "b": ["x"]}))
        self.assertEqual(made._data, "ü;b\n1,5;x\n".encode("cp1252"))

    def test_what_they_can_not_do_is_said(self):
        self.refused("names a column that the table has not: 'q'", "its columns are a, b", "a,b\n1,2\n",
                     settings={"dtype": {"q": "int"}})
        for name in ("latin-99", "rot13"):
            self.refused(f"there is no encoding '{name}'", "one of Python's", "a,b\nx,2\n", settings={"encoding": name})
        self.refused("column 'a' can't be read as int", "let `dtype` say `str`", "a,b\nx,2\n",
                     settings={"dtype": {"a": "int"}})


class Annotations(Case):
    def test_a_table_is_asked_for_in_many_ways(self):
        for head, annotation in (
            ("", "pandas.DataFrame"), ("", "'pandas.DataFrame'"), ("", "typing.Optional[pandas.DataFrame]"),
            ("from __future__ import annotations", "pandas.DataFrame"), ("", "typing.Annotated[pandas.DataFrame, 'x']"),
            ("Table = typing.NewType('Table', pandas.DataFrame)", "Table"),
            ("Table = pandas.DataFrame", "Table"), ("class Table(pandas.DataFrame): pass", "Table"),
            ("", "typing.Union[pandas.DataFrame, None]"),
        ):
            code = f"{head}\nimport typing, pandas\n" if "__future__" in head else f"import typing, pandas\n{head}\n"
            code += f"def process(table: {annotation}):\n    return table\n"
            space = {}
            exec(compile(code, "step.py", "exec", dont_inherit=True), space)
            self.assertEqual(worker.input_mode(space["process"], space, code), "pandas", annotation)
        if sys.version_info >= (3, 12):
            space = {}
            code = "import pandas\ntype Table = pandas.DataFrame\ndef process(table: Table): return table\n"
            exec(code, space)
            self.assertEqual(worker.input_mode(space["process"], space, code), "pandas")
        space = {}
        exec("import typing\nDoc = typing.NewType('Doc', dict)\ndef process(doc: Doc): return doc\n", space)
        self.assertEqual(worker.input_mode(space["process"], space, ""), "dict")


class Large(Case):
    def test_a_table_in_many_pieces_is_read_as_one(self):
        tables, cells = worker.tables(), sys.modules["opendmp_cells"]
        data = "id,x,y,z\n" + "".join(f"{n},{n / 7:.3f},{'' if n % 5 else n},t{n}\n" for n in range(2_000)) + "a,NA,7,\n"
        before = tables.CHUNK_CELLS, tables.PIECE, tables.KEEP_BYTES, cells.WHOLE_BYTES
        try:
            whole = {library: read("t.csv", data, library)[0] for library in LIBRARIES}
            tables.CHUNK_CELLS, tables.PIECE = 400, 2_000
            self.unchanged(data)
            self.assertEqual(content(data, lambda t: t[t.z.isna()]), "id,x,y,z\na,NA,7,\n")
            tables.KEEP_BYTES, cells.WHOLE_BYTES = 0, 100
            self.assertEqual(content("a,b\n01,1.50\n", lambda t: t), "a,b\n01,1.5\n")
            self.assertEqual(read("t.csv", "a,b\n1," + "x" * 200_000 + "\n")[0].shape, (1, 2))
            for library in LIBRARIES:
                again = read("t.csv", data, library)[0]
                self.assertTrue(again.equals(whole[library]), (library, again, whole[library]))
        finally:
            tables.CHUNK_CELLS, tables.PIECE, tables.KEEP_BYTES, cells.WHOLE_BYTES = before


CELLS = {
    "whole": ["1", "-20", "300"], "point": ["1.50", "-0.25", "7", "12.0"], "zeros": ["007", "0", "00.5"], "none": [""],
    "odd": ["1e5", "+3", " 4", "5 ", "inf", ".5", "2."], "truth": ["true", "false", "TRUE"],
    "comma": ["1,5", "2,50", "1.234,5", "7"], "dots": ["1.234", "2.500"],
    "long": ["0.12345678901234567891", "0.33333333333333331483", "9007199254740993"],
    "huge": ["9223372036854775808", "18446744073709551615", "1"], "any": ["1", "x", "NA", "2.5", "true"],
    "text": ["x y", "ü", "a;b", "0x1F", "\u0661", "a\u2028b"],
}


def odd_table(chance):
    """A table of odd cells, and settings for it."""
    delimiter = chance.choice([",", ",", ";", "\t", "|"])
    kinds = chance.choices(list(CELLS), k=chance.randrange(1, 6))
    gaps, quotes, short, blank = (chance.choice([0, 0, often]) for often in (0.2, 0.1, 0.05, 0.05))
    ends = chance.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]])
    lines = [delimiter.join(f"c{number}" for number in range(len(kinds)))]
    for _ in range(chance.choice([0, 1, 20, 150])):
        cells = [chance.choice(["", "", "NA", "null"] if chance.random() < gaps else CELLS[kind]) for kind in kinds]
        cells = ['"' + cell + chance.choice(["", '""', "\n", delimiter]) + '"'
                 if chance.random() < quotes or delimiter in cell else cell for cell in cells]
        lines.append(delimiter.join(cells[:1] if chance.random() < short else cells))
        lines += [""] * (chance.random() < blank)
    settings = chance.choice([{}, {}, {}, {"header": False}, {"na_values": ["x", "1"]}, {"dtype": {"c0": "str"}}])
    return "".join(line + chance.choice(ends) for line in lines), {**settings, "delimiter": delimiter}


class Fast(Case):
    """What the libraries do for speed has to give what Python's own reader and the patterns give."""

    CHANGES = {
        "pandas": (lambda t: t[[number % 3 > 0 for number in range(len(t))]], lambda t: t.assign(y=0.5),
                   lambda t: t.iloc[:, ::-1], lambda t: t.shift(1)),
        "polars": (lambda t: t.reverse(), lambda t: t.with_columns(y=0.5), lambda t: t[:, ::-1],
                   lambda t: t.with_columns(t.to_series(0).shift(1)) if t.width else t),
        "pyarrow": (lambda t: t.slice(1), lambda t: t.select(range(t.num_columns)[::-1]),
                    lambda t: t.append_column("y", [[0.5] * len(t)])),
    }

    def results(self, library, data, settings):
        """The table with its types, and what is written of it and of changed ones; or the error."""
        try:
            table, item = read("t.csv", data, library, settings=settings)
        except ValueError as error:
            return str(error)
        kinds = list(table.dtypes) if library == "pandas" else table.schema
        cells = table.to_dict("list") if library == "pandas" else \
            table.to_dict(as_series=False) if library == "polars" else table.to_pydict()
        return [str(kinds), str(cells), *(item.with_(change(table))._data
                                          for change in (lambda same: same, *self.CHANGES[library]))]

    def test_they_agree(self):
        tables = worker.tables()
        for seed in range(150):
            data, settings = odd_table(random.Random(seed))
            for library in LIBRARIES:
                fast = self.results(library, data, settings)
                texts = tables.TEXTS[library]
                with mock.patch.object(tables, "without_quotes", return_value=None), \
                        mock.patch.object(tables.Column, "common", return_value=None), \
                        mock.patch.object(tables, "simple_rows", return_value=None), \
                        mock.patch.object(texts, "match", return_value=False):
                    self.assertEqual(fast, self.results(library, data, settings), (seed, library, data, settings))

    def test_columns_of_values_are_those_of_their_cells(self):
        tables = worker.tables()
        for seed in range(150):
            data, settings = odd_table(random.Random(seed))
            for library in LIBRARIES[1:]:
                table, item = read("t.csv", data, library, settings=settings)
                kept = item._table
                for at, column in enumerate(kept.columns or ()):
                    found = table.column(at).to_pylist() if library == "pyarrow" else table.to_series(at).to_list()
                    cells = [cell for piece in kept.cells for cell in kept.texts.plain(piece[at])]
                    self.assertEqual(found, column.values(cells), (seed, library, column.kind))

    def test_pieces_end_anywhere(self):
        tables = worker.tables()
        for seed in range(60):
            data, settings = odd_table(random.Random(seed))
            for library in LIBRARIES:
                with mock.patch.object(tables, "PIECE", 1 + seed % 50), mock.patch.object(tables, "WRITE_ROWS", 7), \
                        mock.patch.object(tables, "CHUNK_CELLS", 10):
                    self.unchanged(data, settings=settings)


class Real(Case):
    def test_tables_that_packages_ship_pass_through(self):
        """Where statsmodels, vega_datasets or scikit-learn are installed: their tables come out as they went in."""
        found = []
        for package in ("statsmodels", "vega_datasets", "sklearn"):
            about = importlib.util.find_spec(package)
            for folder in about.submodule_search_locations if about else ():
                found += sorted(pathlib.Path(folder).rglob("*.csv"))
        if not found:
            self.skipTest("none of them is installed")
        passed = 0
        for path in found:
            data = path.read_bytes()
            if len(data) > 2 << 20:
                continue
            for library in LIBRARIES:
                try:
                    table, item = read(path.name, data, library)
                except ValueError as error:
                    self.assertTrue(error.opendmp_hint, path)
                    continue
                passed += 1
                self.assertEqual(item.with_(table)._data, data, (path, library))
                if library == "pandas" and table.shape[1] > 1 and len(table) > 2:
                    dropped = item.with_(table.drop(index=1))._data.decode()
                    text = [row for row in worker.tables().csv.reader(dropped.splitlines()) if row]
                    was = [row for row in worker.tables().csv.reader(data.decode().splitlines()) if row]
                    if "," in data.decode().splitlines()[0]:
                        width = len(was[0])
                        was = [row + [""] * (width - len(row)) for row in was]
                        self.assertEqual(text, was[:2] + was[3:], path)
        self.assertGreater(passed, 60)


if __name__ == "__main__":
    unittest.main()
