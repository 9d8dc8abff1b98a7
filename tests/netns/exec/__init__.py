"""`pywg exec` of a user without privileges, beside a gateway that is wireguard-go."""
