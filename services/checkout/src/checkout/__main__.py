"""`python -m checkout api|consumers|relay|all|migrate`"""

from checkout.main import ROLES
from checkout.topology import SERVICE
from kit.runtime.process import main

if __name__ == "__main__":
    main(SERVICE, ROLES)
