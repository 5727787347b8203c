"""`python -m milady_integration api|consumers|relay|all|migrate|refold|verify`"""

from kit.runtime.process import main
from milady_integration.main import COMMANDS, ROLES
from milady_integration.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
