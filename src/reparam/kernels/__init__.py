"""Operations written for speed; each says which plain formula it equals."""
