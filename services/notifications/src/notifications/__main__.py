"""`python -m notifications api|consumers|relay|all|migrate|verify`"""

from kit.runtime.process import main
from notifications.main import COMMANDS, ROLES
from notifications.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
