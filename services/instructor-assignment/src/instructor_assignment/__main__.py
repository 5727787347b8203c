"""`python -m instructor_assignment api|consumers|relay|all|migrate|refold|verify`"""

from instructor_assignment.main import COMMANDS, ROLES
from instructor_assignment.topology import SERVICE
from kit.runtime.process import main

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
