# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas==3.1.1"]
# ///
"""Hourly temperatures in degrees Fahrenheit in, daily means, lows and highs in degrees Celsius out."""

import pandas


def process(table: pandas.DataFrame) -> pandas.DataFrame:
    when = pandas.to_datetime(table["date"], format="mixed")   # the stations write their dates differently
    celsius = (table["temp"] - 32) * 5 / 9
    days = celsius.groupby(when.dt.strftime("%Y-%m-%d")).agg(["count", "mean", "min", "max"])
    days.columns = ["hours", "mean_c", "min_c", "max_c"]
    return days.round(2).reset_index()
