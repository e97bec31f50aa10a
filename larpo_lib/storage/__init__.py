"""Object storage at the edge of a step: `s3://` inputs are fetched to local paths, outputs published from them.

Credentials, region, endpoint and trust come from the environment that boto3 reads (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, ...); no credential ever stands in a message. A
store that goes away is waited for, LARPO_S3_PATIENCE seconds long.
"""

from larpo_lib.caches import cache_dir
from larpo_lib.storage.directories import complete_directories, delete, put, upload
from larpo_lib.storage.edge import localize, output_path
from larpo_lib.storage.fetching import fetch, short_hash
from larpo_lib.storage.functions import with_code
from larpo_lib.storage.locations import is_remote, located
from larpo_lib.storage.publishing import publish

__all__ = [
    "cache_dir",
    "complete_directories",
    "delete",
    "fetch",
    "is_remote",
    "localize",
    "located",
    "output_path",
    "publish",
    "put",
    "short_hash",
    "upload",
    "with_code",
]
