"""`python -m portal api`"""

from kit.runtime.process import main
from portal.main import ROLES, SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES)
