"""The keys, names and ids every simulated server starts with; all of them are made up."""

API_TOKEN = "app-simulated"  # noqa: S105  # opens the simulator only
CHATFLOW_API_TOKEN = "app-simulated-chat"  # noqa: S105  # opens the simulator only
EMAIL = "ops@example.com"
PASSWORD = "simulated-password"  # noqa: S105  # opens the simulator only
ADMIN_KEY = "simulated-admin-key"
WORKSPACE_ID = "00000000-0000-4000-8000-00000000aaaa"
OTHER_WORKSPACE_ID = "00000000-0000-4000-8000-00000000aaab"
ACCOUNT_ID = "00000000-0000-4000-8000-00000000bbbb"
ACCOUNT_NAME = "Simulated Operator"
WORKFLOW_APP_ID = "00000000-0000-4000-8000-00000000cccc"
CHATFLOW_APP_ID = "00000000-0000-4000-8000-00000000dddd"
