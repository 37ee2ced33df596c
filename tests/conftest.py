"""For all tests."""

import signal

# A shell ignores SIGINT in what it starts in the background (POSIX, "Asynchronous Lists"), and each
# process that a test starts and interrupts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
