"""Collections in processes of their own, to be killed."""

import multiprocessing
import os
import resource
import signal
import time
from dataclasses import dataclass

from hyperlab.base import ArtifactError
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.collect import CollectConfig
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.tasks import roles
from tests.tiny import small_world, tiny_target

TASKS = 160
FATAL = 20  # of 80 batches
CONFIG = CollectConfig(
    protocol="5-way 1-shot",
    other="5-way 5-shot",
    n_tasks=TASKS,
    batch=2,
    teacher=TeacherConfig(steps=2),
)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.runs"])


def run(path, config=CONFIG, *, limit=0, user=0, env=None):
    """One run of a collection over the small world, in a process of its own."""
    if limit:  # as a disk that is full after so many bytes of a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if user:
        os.setuid(user)
    os.environ.update(env or {})  # the server of forks knows only what it was started with
    enter_small_world()
    try:
        collect.collect(tiny_target(), path, config)
    except ArtifactError as error:
        raise SystemExit(3) from error


def started(*args, **kwargs):
    process = SERVER.Process(target=run, args=args, kwargs=kwargs)
    process.start()
    return process


def ended(process):
    process.join(120)
    return process.exitcode


@dataclass
class Packed:
    """Something that knows in which processes it was pickled."""

    where: tuple[int, ...] = ()

    def __getstate__(self):
        return {"where": (*self.where, os.getpid())}


def worker_of(shared, item):
    """A job that takes a while: which process did it, and where what it shares was pickled."""
    time.sleep(0.02)
    return os.getpid(), shared.where


FILL = collect._fill


def in_small_world(*args):
    """The job of one batch, in a process where the small world is new."""
    enter_small_world()
    return FILL(*args)


def killed_in_small_world(*args):
    """The same, by a worker that is killed when it begins batch FATAL."""
    *_, batch = args
    if batch == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    return in_small_world(*args)


def enter_small_world():
    for name, way in small_world()[1].items():
        setattr(roles, name, way)
