"""`python -m enrollment api|consumers|relay|all|migrate|refold|verify`"""

from enrollment.main import COMMANDS, ROLES
from enrollment.topology import SERVICE
from kit.runtime.process import main

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
