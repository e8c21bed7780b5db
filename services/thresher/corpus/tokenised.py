"""A document as token ids, and who speaks at each."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]
RoleIds = npt.NDArray[np.int16]

PLAIN_TEXT, TEMPLATE = -1, 0
"""Role ids of text outside any chat, and of what the template puts around messages."""


@dataclass(frozen=True)
class TokenisedDocument:
    token_ids: TokenIds
    role_ids: RoleIds
    """As long as `token_ids`."""

    def cut(self, num_tokens: int) -> "TokenisedDocument":
        return TokenisedDocument(self.token_ids[:num_tokens], self.role_ids[:num_tokens])

    def after(self, num_tokens: int) -> "TokenisedDocument":
        return TokenisedDocument(self.token_ids[num_tokens:], self.role_ids[num_tokens:])


@dataclass
class RoleNames:
    """Numbers the roles as they are met; 0 is the template."""

    names: list[str] = field(default_factory=lambda: ["template"])

    def id_of(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)
