"""When a window was last read in full, and which runs were listed in it then.

Older certificates say neither: what they prove is a number, so their windows are read again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, which stay empty."""
    op.add_column("windows", sa.Column("read_at", sa.DateTime()))
    op.add_column("windows", sa.Column("run_count", sa.BigInteger()))
    op.add_column("windows", sa.Column("run_digest", sa.LargeBinary()))


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("windows", "run_digest")
    op.drop_column("windows", "run_count")
    op.drop_column("windows", "read_at")
