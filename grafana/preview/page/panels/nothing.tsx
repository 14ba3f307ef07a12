import type { Drawn } from './drawn';
import { noData } from './drawn';

/** A panel without data. */
export function Nothing({ config, theme, width, height }: Drawn) {
  return (
    <div style={{ width, height, display: 'grid', placeItems: 'center', color: theme.colors.text.secondary, textAlign: 'center' }}>
      <span data-nothing="">{noData(config)}</span>
    </div>
  );
}
