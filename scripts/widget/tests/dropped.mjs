// Files that were dropped together, of a map from their names to their bytes.
export function dropped(entries) {
    const files = new Map(entries);
    return {
        names: [...files.keys()],
        bytes: (name) => files.get(name).length,
        read: (name) => files.get(name),
    };
}
