"""One season's raw survey in, one tidy table per island out."""

import csv
import io
from collections.abc import Iterator
from decimal import Decimal

# Missing values as the survey writes them.
MISSING = {"", "NA"}

# "Adelie Penguin (Pygoscelis adeliae)" and "Gentoo penguin (…)" begin with the name people use.
SEXES = {"MALE": "male", "FEMALE": "female"}

# A bird that was not caught has none of these, and there is nothing to say about it.
MEASURED = ["Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"]

COLUMNS = [
    "season", "species", "sample", "individual", "date_egg", "sex",
    "body_mass_kg", "bill_length_cm", "bill_depth_cm", "flipper_length_cm",
]


def number(text: str, divisor: int) -> str:
    """Exact decimal division, so that 3750 g is 3.75 kg and not 3.7500000000000004; missing stays empty."""
    return "" if text in MISSING else f"{Decimal(text) / divisor:f}"


def tidy(row: dict[str, str]) -> dict[str, str]:
    """The same bird under short names and in kg and cm."""
    return {
        "season": f"20{row['studyName'][3:5]}-{row['studyName'][5:]}",
        "species": row["Species"].split()[0],
        "sample": row["Sample Number"],
        "individual": row["Individual ID"],
        "date_egg": row["Date Egg"],
        "sex": SEXES.get(row["Sex"], ""),
        "body_mass_kg": number(row["Body Mass (g)"], 1000),
        "bill_length_cm": number(row["Culmen Length (mm)"], 10),
        "bill_depth_cm": number(row["Culmen Depth (mm)"], 10),
        "flipper_length_cm": number(row["Flipper Length (mm)"], 10),
    }


def process(item: Item) -> Iterator[Item]:
    islands: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(item.text())):
        if all(row[column] in MISSING for column in MEASURED):
            print(f"left out {row['Individual ID']} on {row['Island']}: {row['Comments']}")
            continue
        islands.setdefault(row["Island"], []).append(tidy(row))

    for island, birds in sorted(islands.items()):
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(birds)
        yield item.with_(table.getvalue(), name=f"{item.stem}-{island}.csv", island=island)
