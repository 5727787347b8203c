"""`python -m enrollment api|consumers|relay|all|migrate`"""

from enrollment.main import ROLES
from enrollment.topology import SERVICE
from kit.runtime.process import main

if __name__ == "__main__":
    main(SERVICE, ROLES)
