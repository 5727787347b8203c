"""`python -m notifications api|consumers|relay|all|migrate`"""

from kit.runtime.process import main
from notifications.main import ROLES
from notifications.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES)
