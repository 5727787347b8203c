"""`python -m reporting api|consumers|relay|all|migrate|verify|verify-audit`"""

from kit.runtime.process import main
from reporting.main import COMMANDS, ROLES
from reporting.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
