"""Storing reports and data files: on a local disk, or in buckets of S3 and OSS."""
