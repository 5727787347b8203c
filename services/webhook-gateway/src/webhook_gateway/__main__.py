"""`python -m webhook_gateway api|consumers|relay|all|migrate`"""

from kit.runtime.process import main
from webhook_gateway.main import ROLES
from webhook_gateway.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES)
