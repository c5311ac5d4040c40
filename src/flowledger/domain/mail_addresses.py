"""Mail addresses as people write them."""

from email.headerregistry import Address
from email.utils import getaddresses


def read_mail_address(text: str) -> Address:
    """Return one address, written with a name or without; its domain in ASCII, as the mail system has it.

    :raises ValueError: with the reason, where the text is not exactly one address.
    """
    addresses = getaddresses([text])
    name, spec = addresses[0] if len(addresses) == 1 else ("", "")
    user, _, domain = spec.rpartition("@")
    if not text.isprintable() or spec.count("@") != 1 or not user or not domain or " " in spec:
        raise ValueError("is not one mail address such as person@example.com")
    if not user.isascii():
        # A server without SMTPUTF8 would refuse the whole mail for the sake of this one.
        raise ValueError("has a character outside of ASCII before the @, which most mail servers refuse")
    try:
        return Address(display_name=name, addr_spec=f"{user}@{domain.encode('idna').decode('ascii')}")
    except (ValueError, IndexError) as error:  # the standard library's parser knows both
        raise ValueError(f"is not a mail address ({error})") from error
