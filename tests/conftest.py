"""Fixtures: every instruction set this CPU has, a seed, a clean mode."""

import os

import numpy as np
import pytest

import tilegrad
from tilegrad import kernels

ISAS = list(getattr(kernels.host, "isas", lambda: ["reference"])())


@pytest.fixture(params=ISAS)
def isa(request):
    """Runs the test under each instruction set."""
    if request.param == "reference":
        yield request.param
        return
    before = kernels.host.isa()
    kernels.host.set_isa(request.param)
    yield request.param
    kernels.host.set_isa(before)


@pytest.fixture(autouse=True)
def seeded(request):
    """The numbers of a test do not depend on which tests ran before it."""
    tilegrad.manual_seed(0)
    own = getattr(request.module, "rng", None)
    if own is not None:  # in place: tests share it
        own.bit_generator.state = np.random.default_rng(7).bit_generator.state


@pytest.fixture(autouse=True)
def clean_mode():
    """No test leaves recording off or another default dtype behind."""
    yield
    assert tilegrad.is_grad_enabled()
    assert tilegrad.get_default_dtype() == tilegrad.float32


def pytest_collection_modifyitems(config, items):
    if os.environ.get("TILEGRAD_TEST_ALL"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; make test-all runs it"))
