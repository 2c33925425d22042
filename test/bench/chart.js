// Draws one figure as SVG: a bar for each row's median, a line from quartile to quartile, a mark at the goal.

import { init, use } from 'echarts/core';
import { BarChart, CustomChart, ScatterChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import { SVGRenderer } from 'echarts/renderers';

use([BarChart, CustomChart, ScatterChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const WIDTH = 820;
/** Of the names of the rows. */
const LABELS = 290;
/** Of one row. */
const HEIGHT = 26;
const COLOURS = { ours: '#2f6db5', others: '#9aa5b1', quartiles: '#1b1f24', goal: '#c2410c' };
const PEERS = /: (?:socks|socks-proxy-agent|fetch-socks|Socks5ProxyAgent|plain)$/;

const line = (x1, y1, x2, y2) => ({
  type: 'line',
  shape: { x1, y1, x2, y2 },
  style: { stroke: COLOURS.quartiles, lineWidth: 1.5 },
});

export function drawChart({ title, rows }) {
  const height = 110 + HEIGHT * rows.length;
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 12, top: 10, textStyle: { fontSize: 13, fontWeight: 'bold' } },
    legend: { top: 36, left: 12, itemHeight: 10, data: ['median', 'quartiles', 'goal'] },
    grid: { left: LABELS, right: 60, top: 66, bottom: 30 },
    xAxis: { type: 'value', min: 0, splitLine: { lineStyle: { color: '#e5e7eb' } } },
    yAxis: { type: 'category', inverse: true, data: rows.map(({ row }) => row), axisTick: { show: false } },
    series: [
      {
        name: 'median',
        type: 'bar',
        barWidth: 12,
        label: {
          show: true,
          position: 'insideLeft',
          color: '#ffffff',
          formatter: ({ value }) => value.toFixed(2),
        },
        itemStyle: { color: COLOURS.ours },
        data: rows.map(({ row, median }) => ({
          value: median,
          itemStyle: { color: PEERS.test(row) ? COLOURS.others : COLOURS.ours },
        })),
      },
      {
        name: 'quartiles',
        type: 'custom',
        itemStyle: { color: COLOURS.quartiles },
        data: rows.map(({ low, high }, i) => [low, high, i]),
        encode: { x: [0, 1], y: 2 },
        renderItem: (_parameters, { value, coord }) => {
          const [from, to] = [coord([value(0), value(2)]), coord([value(1), value(2)])];
          const [y, end] = [from[1], 4];
          return {
            type: 'group',
            children: [
              line(from[0], y, to[0], y),
              line(from[0], y - end, from[0], y + end),
              line(to[0], y - end, to[0], y + end),
            ],
          };
        },
      },
      {
        name: 'goal',
        type: 'scatter',
        symbol: 'rect',
        symbolSize: [3, 20],
        itemStyle: { color: COLOURS.goal },
        data: rows.flatMap(({ goal }, i) => (goal === undefined ? [] : [[goal, i]])),
      },
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}
