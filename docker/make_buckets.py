"""Creates the buckets named on the command line, as soon as the S3 server answers."""

import sys
import time

import boto3
from botocore import exceptions
from botocore.config import Config

ATTEMPTS = 60

client = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
for bucket in sys.argv[1:]:
    for attempt in range(ATTEMPTS):
        try:
            client.create_bucket(Bucket=bucket)
            print(f"{bucket}: created")
            break
        except exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
            print(f"{bucket}: exists already")
            break
        except (exceptions.ConnectionError, exceptions.HTTPClientError):
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(1)
