"""A kernel that was restarted or is at work leaves words, not a dead app."""

import pytest

from tests.browser.lab import CURRENT

pytestmark = pytest.mark.browser

KERNEL = f"{CURRENT}.sessionContext.session.kernel"
BUSY = f"() => {{ {KERNEL}.requestExecute({{code: 'import time; time.sleep(6)'}}) }}"


def test_a_press_that_waits_and_a_lost_kernel_are_told(lab):
    with lab.open("01_gradient_descent_is_an_ode.ipynb") as page:
        page.run_all()
        page.button("Step").scroll_into_view_if_needed()
        told = lambda: page.tab.locator(".hyperlab-app [role=alert]").inner_text()
        before = page.kernel("state.steps")
        assert told() == ""
        page.tab.evaluate(BUSY)
        page.press("Step")
        page.until(lambda: "No answer from the kernel yet" in told())
        page.until(lambda: told() == "")
        assert page.kernel("state.steps") != before
        page.tab.evaluate(f"() => {{ {KERNEL}.restart() }}")
        page.until(lambda: "has lost its kernel" in told())
        assert page.tab.locator(".hyperlab-app input[type=text]").input_value()
        page.until(lambda: page.kernel("1 + 1") == "2")  # it is back, and can be shut down
