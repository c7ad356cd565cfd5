"""Writes digits.csv.gz from the copy of the data in scikit-learn 1.9.0."""

import csv
import gzip
import io
import pathlib

from sklearn.datasets import load_digits

images = load_digits()
text = io.StringIO()
out = csv.writer(text, lineterminator="\n")
for pixels, digit in zip(images.data, images.target):
    out.writerow([int(p) for p in pixels] + [digit])
# Without a time stamp, so that the file is the same whenever it is written.
pathlib.Path(__file__).with_name("digits.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
