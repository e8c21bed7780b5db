"""The SQL catalog of dictionaries, features, labels and scores; rebuilt from Parquet at any time."""
