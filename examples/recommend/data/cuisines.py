"""Writes cuisines.csv from FiveThirtyEight's food-world-cup-data.csv: the ratings alone, of those who gave any.

cuisines.py food-world-cup-data.csv
"""

import csv
import pathlib
import re
import sys

with open(sys.argv[1], encoding="latin-1", newline="") as f:
    header, *answers = csv.reader(f)
ratings = slice(3, 43)
names = [re.fullmatch(r"Please rate how much you like the traditional cuisine of:?\s?(?:the )?(.*?)[.:]?", h.replace("\xca", " "))[1] for h in header[ratings]]
with open(pathlib.Path(__file__).with_name("cuisines.csv"), "w", newline="") as f:
    out = csv.writer(f, lineterminator="\n")
    out.writerow(names)
    for row in answers:
        row = [a if a in ("1", "2", "3", "4", "5") else "" for a in row[ratings]]
        if any(row):
            out.writerow(row)
