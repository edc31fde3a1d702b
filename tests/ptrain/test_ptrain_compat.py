"""Each patch of an upstream bug is still needed; a failure here means that it can go."""

import subprocess
import sys

UNPATCHED = """
from peft.utils.other import TrainableTokensWrapper
assert not hasattr(TrainableTokensWrapper, "bias"), "peft#3649 is fixed: remove the patch"
from ptrain.compat import patch_token_wrapper
patch_token_wrapper()
first = TrainableTokensWrapper.bias
patch_token_wrapper()
assert TrainableTokensWrapper.bias is first
"""


def test_the_token_wrapper_still_lacks_a_bias():
    done = subprocess.run([sys.executable, "-c", UNPATCHED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
