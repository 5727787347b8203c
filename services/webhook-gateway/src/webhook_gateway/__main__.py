"""`python -m webhook_gateway api|consumers|relay|reconciler|admin|all|migrate|reconcile|retranslate`"""

from kit.runtime.process import main
from webhook_gateway.main import COMMANDS, ROLES
from webhook_gateway.topology import SERVICE

if __name__ == "__main__":
    main(SERVICE, ROLES, commands=COMMANDS)
