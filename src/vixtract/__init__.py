"""ViXtract: an ETL appliance for one Linux host."""

__version__ = "0.1.0"
