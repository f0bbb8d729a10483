"""A store on object storage: a real S3 server on this machine, reached through fsspec."""

import time
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer

from hyperlab.base import ArtifactError, DataMissingError, stream
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.trajectories import Stream, TrajectoryStore
from hyperlab.store import storage
from tests.runs import CONFIG as ALL
from tests.runs import ended, enter_small_world, started
from tests.tiny import files, tiny_target

CONFIG = replace(ALL, n_tasks=20)


@pytest.fixture(scope="module")
def bucket():
    """An empty bucket; the address and the keys are in the environment, as a user has them."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="runs")
        yield client, told
    server.stop()


def objects(client, prefix):
    """Everything below a prefix, as `files` gives it for a folder."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="runs", Prefix=prefix)
    names = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {
        str(Path(name).relative_to(prefix)): client.get_object(Bucket="runs", Key=name)[
            "Body"
        ].read()
        for name in names
    }


def test_a_killed_run_on_object_storage_goes_on_and_ends_in_the_bytes_of_a_folder(
    bucket, tmp_path
):
    bucket, env = bucket
    process = started("s3://runs/store", CONFIG, env=env)
    for _ in range(600):  # until some batches are there
        if len([k for k in objects(bucket, "store") if k.startswith("mark/c")]) >= 3:
            break
        time.sleep(0.1)
    process.kill()
    ended(process)
    store = TrajectoryStore.open("s3://runs/store")
    assert 0 < len(store.missing) < store.group["mark"].shape[0]
    assert ended(started("s3://runs/store", CONFIG, env=env)) == 0
    assert ended(started(tmp_path / "store", CONFIG)) == 0
    assert objects(bucket, "store") == files(tmp_path / "store")
    assert len(store.read()) == len(Stream(store)) == CONFIG.n_tasks
    assert len(next(Stream(store).batches(5, stream(0)))) == 5


def test_what_is_not_there_is_named(bucket):
    with pytest.raises(DataMissingError, match="no trajectories at s3://runs/nothing"):
        TrajectoryStore.open("s3://runs/nothing")


def test_a_bucket_that_is_not_there_is_named(bucket, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("present", "open_source"):
            patch.setattr(collect.roles, name, getattr(collect.roles, name))
        enter_small_world()
        with pytest.raises(ArtifactError, match="cannot make a store at s3://elsewhere/a"):
            collect.collect(tiny_target(), "s3://elsewhere/a", CONFIG)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (EndpointConnectionError(endpoint_url="http://a", error="b"), OSError),
        (PermissionError("c"), PermissionError),
        (ValueError("d"), ValueError),
    ],
)
def test_only_what_storage_raises_of_its_own_changes_its_kind(raised, seen):
    with pytest.raises(seen, match=str(raised)), storage():
        raise raised
