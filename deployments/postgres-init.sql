-- Beside the ledger's database, one for Prefect.
CREATE DATABASE prefect;
