"""`python -m checkout api|consumers|relay|all|migrate|refold|verify`"""

from checkout.main import COMMANDS, ROLES
from checkout.topology import SERVICE
from kit.runtime.process import main

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
