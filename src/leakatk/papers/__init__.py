"""The paper index: the 121 systems of the field, and what of each is here."""
